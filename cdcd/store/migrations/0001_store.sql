-- The event store: deliveries, their attempts, the backlog, and how far each source is settled.
-- Runs with search_path set to the store's schema alone; every object it makes stays inside that schema.

CREATE TABLE meta (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  project     text NOT NULL CHECK (project <> ''),
  owner_epoch bigint NOT NULL DEFAULT 0,
  created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE meta IS 'One row: the project this store belongs to. owner_epoch grows each time a daemon becomes the owner of the store.';

CREATE TABLE migrations (
  number     integer PRIMARY KEY,
  name       text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE migrations IS 'The numbered migrations that this store has seen.';

CREATE TABLE event_logs (
  id         uuid NOT NULL,
  time       timestamptz NOT NULL,
  type       text NOT NULL,
  source     text NOT NULL,
  subject    text NOT NULL,
  trigger    text NOT NULL,
  key        text NOT NULL,
  position   bigint NOT NULL DEFAULT 0,
  payload    json,
  status     text NOT NULL,
  attempts   integer NOT NULL DEFAULT 0,
  remark     text,
  created_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz,
  PRIMARY KEY (id, time),
  -- One CASE instead of a constraint for each state: it is evaluated for every row written.
  CONSTRAINT state_possible CHECK (CASE status
    WHEN 'processed' THEN settled_at IS NOT NULL AND (payload IS NOT NULL OR remark IS NOT NULL)
    WHEN 'staged' THEN settled_at IS NULL AND payload IS NOT NULL
    WHEN 'failed' THEN settled_at IS NOT NULL AND remark IS NOT NULL
    WHEN 'cancelled' THEN settled_at IS NOT NULL AND remark IS NOT NULL
    ELSE false END),
  CONSTRAINT attempts_counted CHECK (attempts >= 0)
) PARTITION BY RANGE (time);
COMMENT ON TABLE event_logs IS 'One row a delivery (one event for one trigger). Space Cloud: event_logs.';
COMMENT ON COLUMN event_logs.id IS 'The delivery''s id: CloudEvent id and webhook-id, the same on every attempt. Space Cloud: _id.';
COMMENT ON COLUMN event_logs.time IS 'When the event happened (commit time). Decides the partition. Space Cloud: ts.';
COMMENT ON COLUMN event_logs.type IS 'DB_INSERT, DB_UPDATE, ... Space Cloud: type.';
COMMENT ON COLUMN event_logs.source IS 'The CloudEvent''s source. Space Cloud has none.';
COMMENT ON COLUMN event_logs.subject IS 'The CloudEvent''s subject: the table and row, the path. Space Cloud has none.';
COMMENT ON COLUMN event_logs.trigger IS 'The trigger that wanted the event. Space Cloud: rule_name.';
COMMENT ON COLUMN event_logs.key IS 'The source''s ordering key: a row''s primary key, a file''s path. Space Cloud has none.';
COMMENT ON COLUMN event_logs.position IS 'Where the source stood, as a number (an LSN for Postgres). Space Cloud has none.';
COMMENT ON COLUMN event_logs.payload IS 'The CloudEvent''s data, byte for byte as it is sent. NULL when it has no JSON form; remark says why. Space Cloud: payload.';
COMMENT ON COLUMN event_logs.status IS 'staged, processed, failed or cancelled. Space Cloud: status (intent, staged, processed, failed, cancel).';
COMMENT ON COLUMN event_logs.attempts IS 'Attempts made. While staged the current number is in pending. Space Cloud has none.';
COMMENT ON COLUMN event_logs.remark IS 'Why it failed, was cancelled, or is staged. Space Cloud: remark.';
COMMENT ON COLUMN event_logs.created_at IS 'When this row was first written. Space Cloud: event_ts.';
COMMENT ON COLUMN event_logs.settled_at IS 'When the status became final. Space Cloud has none.';
CREATE INDEX event_logs_failed ON event_logs (trigger, time) WHERE status = 'failed';

CREATE TABLE invocation_logs (
  event_id    uuid NOT NULL,
  time        timestamptz NOT NULL,
  number      integer NOT NULL CHECK (number >= 1),
  status_code integer NOT NULL CHECK (status_code >= 0),
  response    text NOT NULL,
  error       text NOT NULL,
  duration_ms real NOT NULL,
  at          timestamptz NOT NULL,
  PRIMARY KEY (event_id, time, number)
) PARTITION BY RANGE (time);
COMMENT ON TABLE invocation_logs IS 'One row an attempt (one HTTP request for a delivery). Space Cloud: invocation_logs.';
COMMENT ON COLUMN invocation_logs.event_id IS 'event_logs.id. Space Cloud: event_id.';
COMMENT ON COLUMN invocation_logs.time IS 'The event''s time, as in event_logs, so that both lie in partitions of the same day.';
COMMENT ON COLUMN invocation_logs.number IS 'Which attempt, from 1. Space Cloud has none.';
COMMENT ON COLUMN invocation_logs.status_code IS 'HTTP status, 0 when there was no answer. Space Cloud: response_status_code.';
COMMENT ON COLUMN invocation_logs.response IS 'The start of the body, redacted. Space Cloud: response_body.';
COMMENT ON COLUMN invocation_logs.error IS 'Empty for a success. Space Cloud: error_msg.';
COMMENT ON COLUMN invocation_logs.at IS 'When the request was started. Space Cloud: invocation_time.';

-- lz4 costs a fraction of pglz's CPU; a server built without it keeps its default.
DO $$
BEGIN
  ALTER TABLE event_logs ALTER COLUMN payload SET COMPRESSION lz4;
  ALTER TABLE invocation_logs ALTER COLUMN response SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
  NULL;
END $$;

-- An insert must never fail for lack of a partition; what lands here is moved when its day is made.
CREATE TABLE event_logs_default PARTITION OF event_logs DEFAULT;
CREATE TABLE invocation_logs_default PARTITION OF invocation_logs DEFAULT;

CREATE TABLE pending (
  seq        bigint GENERATED ALWAYS AS IDENTITY,
  id         uuid PRIMARY KEY,
  time       timestamptz NOT NULL,
  trigger    text NOT NULL,
  lane       text,
  also       text,
  due_at     timestamptz,
  attempts   integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  size       integer NOT NULL CHECK (size >= 0),
  last_error text,
  CONSTRAINT unordered_is_due CHECK (lane IS NOT NULL OR due_at IS NOT NULL),
  CONSTRAINT second_lane_has_first CHECK (also IS NULL OR lane IS NOT NULL)
) WITH (
  fillfactor = 80,
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_insert_threshold = 10000, autovacuum_vacuum_insert_scale_factor = 0.1,
  autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE pending IS 'The staged deliveries, without their payload. seq is their order; only the head of a lane carries due_at.';
COMMENT ON COLUMN pending.lane IS 'The ordering key within the trigger; NULL: unordered, always carries due_at.';
CREATE INDEX pending_due ON pending (trigger, due_at, seq) WHERE due_at IS NOT NULL;
COMMENT ON COLUMN pending.also IS 'A second lane: the old key of a row whose key changed. It waits for both lanes, and both for it.';
CREATE INDEX pending_lane ON pending (trigger, lane, seq);
CREATE INDEX pending_also ON pending (trigger, also, seq) WHERE also IS NOT NULL;
CREATE INDEX pending_two ON pending (trigger, lane, seq) WHERE also IS NOT NULL;

CREATE TABLE positions (
  seq      bigint GENERATED ALWAYS AS IDENTITY,
  source   text NOT NULL,
  settled  bigint NOT NULL,
  recorded bigint NOT NULL,
  time     timestamptz,
  identity jsonb NOT NULL,
  at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE positions IS 'How far each source is settled: the newest row of a source counts. Appended to, and now and then rewritten to one row a source.';

-- Makes the partitions of one day (UTC) and moves into them what the default partitions hold of it. False: they were there.
-- ATTACH needs a weaker lock on the parent than CREATE ... PARTITION OF, and a short lock_timeout keeps writers from queueing
-- behind a reader that holds the default partition for long: the caller goes on without, and tries again later.
CREATE FUNCTION make_day(day date) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '250ms' SET client_min_messages = 'warning' AS $$
DECLARE
  parent text;
  child text;
  low timestamptz := day::timestamptz;
  high timestamptz := (day + 1)::timestamptz;
  found_rows boolean;
  made boolean := false;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('cdcd.partitions', 'event_logs'::regclass::oid::bigint));
  FOREACH parent IN ARRAY ARRAY['event_logs', 'invocation_logs'] LOOP
    child := parent || to_char(day, '_YYYYMMDD');
    CONTINUE WHEN to_regclass(child) IS NOT NULL;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE time >= $1 AND time < $2)', parent || '_default')
      INTO found_rows USING low, high;
    IF found_rows THEN
      EXECUTE format('LOCK TABLE %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
      EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
      EXECUTE format('WITH moved AS (DELETE FROM %I WHERE time >= $1 AND time < $2 RETURNING *) INSERT INTO %I SELECT * FROM moved',
        parent || '_default', child) USING low, high;
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
    made := true;
  END LOOP;
  RETURN made;
END $$;
COMMENT ON FUNCTION make_day(date) IS 'Makes the partitions of one day (UTC). False: they were there.';

-- Drops the partitions of one day (UTC) whole. False: kept, because a delivery of that day is still staged.
CREATE FUNCTION drop_day(day date) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '250ms' SET client_min_messages = 'warning' AS $$
DECLARE
  low timestamptz := day::timestamptz;
  high timestamptz := (day + 1)::timestamptz;
BEGIN
  IF EXISTS (SELECT FROM pending WHERE time >= low AND time < high) THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('cdcd.partitions', 'event_logs'::regclass::oid::bigint));
  -- Parents first, as a writer takes them; then nobody can stage a delivery of that day between the look and the drop.
  LOCK TABLE ONLY event_logs, ONLY invocation_logs IN ACCESS EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM pending WHERE time >= low AND time < high) THEN
    RETURN false;
  END IF;
  EXECUTE format('DROP TABLE IF EXISTS %I, %I', 'event_logs' || to_char(day, '_YYYYMMDD'), 'invocation_logs' || to_char(day, '_YYYYMMDD'));
  RETURN true;
END $$;
COMMENT ON FUNCTION drop_day(date) IS 'Drops the partitions of one day (UTC). False: kept, a delivery of that day is still staged.';

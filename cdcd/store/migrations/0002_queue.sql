-- Custom events on their way in, and what CloudEvents calls extensions.

ALTER TABLE event_logs ADD COLUMN extensions json;
COMMENT ON COLUMN event_logs.extensions IS 'Further attributes of the CloudEvent, as an object: causationid, correlationid, ... Space Cloud has none.';

CREATE TABLE queued (
  seq        bigint GENERATED ALWAYS AS IDENTITY,
  id         text PRIMARY KEY CONSTRAINT id_possible CHECK (length(id) BETWEEN 1 AND 255),
  due_at     timestamptz NOT NULL DEFAULT clock_timestamp()
             CONSTRAINT due_at_possible CHECK (due_at >= '1970-01-01 00:00:00Z' AND due_at < '9999-12-31 00:00:00Z'),
  at_once    boolean NOT NULL DEFAULT false,
  taken      boolean NOT NULL DEFAULT false,
  type       text NOT NULL CONSTRAINT type_possible
             CHECK (type ~ '^[A-Za-z][A-Za-z0-9_.:/-]{0,99}$' AND type !~ '^(DB_|FILE_|SCHEDULE$)'),
  source     text NOT NULL,
  subject    text NOT NULL DEFAULT '',
  key        text,
  payload    json NOT NULL,
  size       integer NOT NULL CHECK (size >= 0),
  extensions json,
  queued_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
  fillfactor = 90,
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE queued IS 'Custom events that are not matched yet: those just queued, and those scheduled for later. A row leaves when its deliveries are staged.';
COMMENT ON COLUMN queued.due_at IS 'When it happens: the CloudEvent''s time.';
COMMENT ON COLUMN queued.at_once IS 'It is not for later: it is due whatever the clocks of server and daemon say.';
COMMENT ON COLUMN queued.taken IS 'It is due and on its way: too late to cancel or move it.';
COMMENT ON COLUMN queued.size IS 'Bytes of the payload, so that what is too large need not be read.';
CREATE INDEX queued_at_once ON queued (seq) WHERE at_once;
CREATE INDEX queued_due ON queued (due_at, seq) WHERE NOT at_once;

CREATE TABLE queued_ids (
  id   text PRIMARY KEY,
  time timestamptz NOT NULL
);
COMMENT ON TABLE queued_ids IS 'Ids that were given by those who queued, so that the same id twice is one event. Kept as long as events are.';
CREATE INDEX queued_ids_time ON queued_ids (time);

-- The daemon listens on a channel of this schema's own. NOTIFY is never the data: it only wakes who looks.
CREATE FUNCTION wake() RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
  SELECT pg_notify('cdcd_queued_' || 'queued'::regclass::oid, '')
$$;
COMMENT ON FUNCTION wake() IS 'Tells the daemon that something was queued.';

-- Queues a custom event in the caller's transaction: rolled back, it never was. Gives the event's id. The same id twice is one event.
CREATE FUNCTION queue(type text, payload json DEFAULT 'null', delay interval DEFAULT NULL, at timestamptz DEFAULT NULL,
                      key text DEFAULT NULL, id text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  made text := coalesce(queue.id, gen_random_uuid()::text);
  moment timestamptz := clock_timestamp();
  due timestamptz := coalesce(queue.at, moment) + coalesce(queue.delay, interval '0');
BEGIN
  IF queue.type ~ '^(DB_|FILE_|SCHEDULE$)' THEN
    RAISE EXCEPTION 'the type % cannot be queued', queue.type
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Events of this type come from their source alone; choose another name.';
  ELSIF (queue.type ~ '^[A-Za-z][A-Za-z0-9_.:/-]{0,99}$') IS NOT TRUE THEN
    RAISE EXCEPTION 'the type % cannot be queued', coalesce(quote_literal(left(queue.type, 120)), 'NULL')
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'A type is letters, digits and _ . : / -, begins with a letter, and has at most 100 of them.';
  ELSIF length(made) NOT BETWEEN 1 AND 255 THEN
    RAISE EXCEPTION 'the id of an event has 1 to 255 characters' USING ERRCODE = 'invalid_parameter_value';
  ELSIF due < '1970-01-01 00:00:00Z' OR due >= '9999-12-31 00:00:00Z' THEN
    RAISE EXCEPTION 'an event cannot be due at %', due USING ERRCODE = 'datetime_field_overflow', HINT = 'Choose a time from 1970 to 9999.';
  END IF;
  IF queue.id IS NOT NULL THEN
    INSERT INTO queued_ids (id, time) VALUES (made, greatest(moment, due)) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      RETURN made;
    END IF;
  END IF;
  INSERT INTO queued (id, due_at, at_once, type, source, key, payload, size)
  SELECT made, due, due <= moment, queue.type, 'cdcd/' || m.project || '/queue', queue.key,
         coalesce(queue.payload, 'null'), octet_length(coalesce(queue.payload::text, 'null'))
  FROM meta m;
  PERFORM wake();
  RETURN made;
END $$;
COMMENT ON FUNCTION queue(text, json, interval, timestamptz, text, text) IS 'Queues a custom event in the caller''s transaction; its id.';

-- The same for text that is JSON (so that a literal needs no cast) and for jsonb.
CREATE FUNCTION queue(type text, payload text, delay interval DEFAULT NULL, at timestamptz DEFAULT NULL,
                      key text DEFAULT NULL, id text DEFAULT NULL) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT queue(queue.type, queue.payload::json, queue.delay, queue.at, queue.key, queue.id)
$$;
COMMENT ON FUNCTION queue(text, text, interval, timestamptz, text, text) IS 'Queues a custom event in the caller''s transaction; its id.';
CREATE FUNCTION queue(type text, payload jsonb, delay interval DEFAULT NULL, at timestamptz DEFAULT NULL,
                      key text DEFAULT NULL, id text DEFAULT NULL) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT queue(queue.type, queue.payload::json, queue.delay, queue.at, queue.key, queue.id)
$$;
COMMENT ON FUNCTION queue(text, jsonb, interval, timestamptz, text, text) IS 'Queues a custom event in the caller''s transaction; its id.';

-- Takes back an event that is scheduled for later. False: it is not there (any more), or on its way.
CREATE FUNCTION cancel(id text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  WITH gone AS (DELETE FROM queued q WHERE q.id = cancel.id AND NOT q.at_once AND NOT q.taken RETURNING 1)
  SELECT EXISTS (SELECT FROM gone)
$$;
COMMENT ON FUNCTION cancel(text) IS 'Takes back an event that is scheduled for later. False: it is not there (any more), or on its way.';

-- Moves an event that is scheduled for later to another time. False: it is not there (any more), or on its way.
CREATE FUNCTION move(id text, at timestamptz) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
  WITH moved AS (
    UPDATE queued q SET due_at = move.at WHERE q.id = move.id AND NOT q.at_once AND NOT q.taken RETURNING q.id, wake()
  ), kept AS (
    UPDATE queued_ids i SET time = greatest(i.time, move.at) FROM moved m WHERE i.id = m.id
  )
  SELECT EXISTS (SELECT FROM moved)
$$;
COMMENT ON FUNCTION move(text, timestamptz) IS 'Moves an event that is scheduled for later to another time. False: it is not there (any more), or on its way.';

-- A role with USAGE on this schema may queue, cancel and move, and nothing else.
REVOKE EXECUTE ON FUNCTION wake(), make_day(date), drop_day(date) FROM PUBLIC;

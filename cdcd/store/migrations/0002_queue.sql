-- Custom events on their way in, and what CloudEvents calls extensions.

ALTER TABLE event_logs ADD COLUMN extensions json;
COMMENT ON COLUMN event_logs.extensions IS 'Further attributes of the CloudEvent, as an object: causationid, correlationid, ... Space Cloud has none.';

CREATE TABLE queued (
  seq        bigint GENERATED ALWAYS AS IDENTITY,
  id         text PRIMARY KEY CHECK (id <> ''),
  due_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  type       text NOT NULL CHECK (type ~ '^[A-Za-z][A-Za-z0-9_.:/-]{0,99}$' AND type !~ '^(DB_|FILE_|SCHEDULE$)'),
  source     text NOT NULL,
  subject    text NOT NULL DEFAULT '',
  key        text,
  payload    json NOT NULL,
  extensions json,
  queued_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
  fillfactor = 90,
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE queued IS 'Custom events that are not matched yet: those just queued, and those scheduled for later. A row leaves when its deliveries are staged.';
COMMENT ON COLUMN queued.due_at IS 'When it happens: the CloudEvent''s time.';
CREATE INDEX queued_due ON queued (due_at, seq);

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
  due timestamptz := coalesce(queue.at, clock_timestamp()) + coalesce(queue.delay, interval '0');
BEGIN
  IF queue.id IS NOT NULL THEN
    INSERT INTO queued_ids AS q (id, time) VALUES (made, now()) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      RETURN made;
    END IF;
  END IF;
  INSERT INTO queued (id, due_at, type, source, key, payload)
  SELECT made, due, queue.type, 'cdcd/' || m.project || '/queue', queue.key, coalesce(queue.payload, 'null') FROM meta m;
  PERFORM wake();
  RETURN made;
END $$;
COMMENT ON FUNCTION queue(text, json, interval, timestamptz, text, text) IS 'Queues a custom event in the caller''s transaction; its id.';

-- Takes back an event that is scheduled for later. False: it is not there (any more).
CREATE FUNCTION cancel(id text) RETURNS boolean
LANGUAGE sql SET search_path FROM CURRENT AS $$
  WITH gone AS (DELETE FROM queued q WHERE q.id = cancel.id RETURNING 1) SELECT EXISTS (SELECT FROM gone)
$$;
COMMENT ON FUNCTION cancel(text) IS 'Takes back an event that is scheduled for later. False: it is not there (any more).';

-- Moves an event that is scheduled for later to another time. False: it is not there (any more).
CREATE FUNCTION move(id text, at timestamptz) RETURNS boolean
LANGUAGE sql SET search_path FROM CURRENT AS $$
  WITH moved AS (UPDATE queued q SET due_at = move.at WHERE q.id = move.id RETURNING wake()) SELECT EXISTS (SELECT FROM moved)
$$;
COMMENT ON FUNCTION move(text, timestamptz) IS 'Moves an event that is scheduled for later to another time. False: it is not there (any more).';

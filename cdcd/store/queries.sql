-- Every statement that cdcd runs on the event store. The connection's search path is the store's schema alone.

-- name: session
-- Sets up a connection: our schema only, plans that do not depend on fresh statistics (every statement here is a handful of
-- index look-ups), no time limits of the role's own, a commit that is durable when it returns, and a server that notices a dead peer.
SELECT set_config(s.name, w.value, false)
FROM (VALUES
  ('search_path', $1::text),
  ('timezone', 'UTC'),
  ('jit', 'off'),
  ('enable_seqscan', 'off'),
  ('enable_bitmapscan', 'off'),
  ('enable_hashjoin', 'off'),
  ('enable_mergejoin', 'off'),
  ('statement_timeout', '0'),
  ('lock_timeout', '0'),
  ('transaction_timeout', '0'),
  ('idle_session_timeout', '0'),
  ('idle_in_transaction_session_timeout', '60s'),
  ('tcp_keepalives_idle', '10'),
  ('tcp_keepalives_interval', '5'),
  ('tcp_keepalives_count', '3'),
  ('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'off' THEN 'on' END)
) AS w(name, value) JOIN pg_catalog.pg_settings s ON lower(s.name) = w.name
WHERE w.value IS NOT NULL;

-- name: store_of
-- Which project the schema belongs to and how far it is migrated; fails when there is no store.
SELECT m.project, (SELECT max(number) FROM migrations) FROM meta m;

-- name: own
-- Takes the lock that makes this session the store's only owner; false when another session holds it. And who we are: pid and
-- start of the backend, which only together are never used again.
SELECT pg_try_advisory_lock(hashtextextended('cdcd.owner', 'meta'::regclass::oid::bigint)), pg_backend_pid(),
       (SELECT backend_start::text FROM pg_stat_get_activity(pg_backend_pid()));

-- name: owner
-- Who holds the owner's lock: pid, application, address, since when.
SELECT l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'local'), coalesce(a.backend_start::text, '')
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('cdcd.owner', 'meta'::regclass::oid::bigint);

-- name: end_backend
-- Ends our own former session, which the server still takes for alive after the network broke.
SELECT pg_terminate_backend($1::integer);

-- name: begin_epoch
-- A daemon has become the owner: every owner before it is over.
UPDATE meta SET owner_epoch = owner_epoch + 1 RETURNING owner_epoch;

-- name: epoch
-- The epoch of the newest owner.
SELECT owner_epoch FROM meta;

-- name: days
-- The days that have partitions, as days since 1970-01-01.
SELECT to_date(right(c.relname, 8), 'YYYYMMDD') - DATE '1970-01-01'
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'event_logs'::regclass AND c.relname ~ '^event_logs_\d{8}$';

-- name: make_day
-- Makes the partitions of a day, given as days since 1970-01-01.
SELECT make_day(DATE '1970-01-01' + $1::integer);

-- name: drop_day
-- Drops the partitions of a day, unless a delivery of that day is still staged.
SELECT drop_day(DATE '1970-01-01' + $1::integer);

-- name: record_again
-- The whole live path in one statement: deliveries that are final already, their attempts, and how far the sources are settled.
-- A group that is written again (its commit's answer was lost) changes nothing. The statement `record` is this one without
-- ON CONFLICT, which costs a quarter of the speed: it is tried first, and fails whole when any row is there already.
WITH events AS (
  INSERT INTO event_logs (id, time, type, source, subject, trigger, key, position, payload, extensions, status, attempts, remark, settled_at)
  SELECT n.*, now()
  FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
              $9::json[], $10::json[], $11::text[], $12::integer[], $13::text[]) AS n
  ON CONFLICT DO NOTHING
), invocations AS (
  INSERT INTO invocation_logs (event_id, time, number, status_code, response, error, duration_ms, at)
  SELECT n.*
  FROM unnest($14::uuid[], $15::timestamptz[], $16::integer[], $17::integer[], $18::text[], $19::text[], $20::real[],
              $21::timestamptz[]) AS n
  ON CONFLICT DO NOTHING
)
INSERT INTO positions (source, settled, recorded, time, identity)
SELECT n.source, n.settled, n.recorded, nullif(n.time, 'epoch'), n.identity::jsonb
FROM unnest($22::text[], $23::bigint[], $24::bigint[], $25::timestamptz[], $26::text[]) AS n(source, settled, recorded, time, identity);

-- name: stage_again
-- Deliveries for later: the event, and its place in the backlog in the order given. Only what is first in all its lanes gets a
-- due time: in the backlog, and (`first`) among those that come with it.
-- Without ON CONFLICT it is the statement `stage`, which is a third faster and fails when one of them is there already.
-- What event_logs holds already is not staged again. OFFSET 0: look-ups by index; without it the planner reads the whole backlog
-- into hashes, for each group anew.
WITH n AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
                       $9::json[], $10::json[], $11::integer[], $12::text[], $13::text[], $14::timestamptz[], $15::integer[], $16::text[],
                       $17::integer[])
  WITH ORDINALITY AS n(id, time, type, source, subject, trigger, key, position, payload, extensions, attempts, remark, lane, due_at, size, also,
                       first, ordinal)
), events AS (
  INSERT INTO event_logs (id, time, type, source, subject, trigger, key, position, payload, extensions, status, attempts, remark)
  SELECT n.id, n.time, n.type, n.source, n.subject, n.trigger, n.key, n.position, n.payload, n.extensions, 'staged', n.attempts, n.remark FROM n
  ON CONFLICT DO NOTHING
  RETURNING id
), fresh AS (
  SELECT n.* FROM n WHERE (n.id IN (SELECT e.id FROM events e)) IS TRUE -- so it is a hashed look-up, not a nested loop
)
INSERT INTO pending (id, time, trigger, lane, also, due_at, attempts, size, last_error)
SELECT f.id, f.time, f.trigger, f.lane, f.also,
       CASE WHEN f.lane IS NULL
              OR f.first = 1
                 AND NOT EXISTS (SELECT FROM pending p WHERE p.trigger = f.trigger AND p.lane = f.lane OFFSET 0)
                 AND NOT EXISTS (SELECT FROM pending p WHERE p.trigger = f.trigger AND p.also = f.lane OFFSET 0)
                 AND NOT EXISTS (SELECT FROM pending p WHERE p.trigger = f.trigger AND p.lane = f.also OFFSET 0)
                 AND NOT EXISTS (SELECT FROM pending p WHERE p.trigger = f.trigger AND p.also = f.also OFFSET 0)
            THEN f.due_at END,
       f.attempts, f.size, f.remark
FROM fresh f ORDER BY f.ordinal
ON CONFLICT DO NOTHING;

-- name: finish
-- Staged deliveries become final. Those that are final already stay as they are, but for one that was made `failed` while its
-- attempt was under way, since its data could not be stored: what the attempt showed is the truth.
UPDATE event_logs e
SET status = n.status, attempts = n.attempts, settled_at = now(),
    remark = CASE e.status WHEN 'staged' THEN n.remark ELSE concat_ws('; ', n.remark, e.remark) END
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::integer[], $5::text[]) AS n(id, time, status, attempts, remark)
WHERE e.id = n.id AND e.time = n.time
  AND (e.status = 'staged'
       OR e.status = 'failed' AND e.payload IS NULL AND (n.status = 'processed' OR strpos(e.remark, n.remark) = 0));

-- name: leave
-- Final deliveries leave the backlog.
DELETE FROM pending WHERE id = ANY($1::uuid[]);

-- name: promote
-- Whoever is now first of these lanes is due, unless it has a due time already or still waits for its other lane.
UPDATE pending p SET due_at = ($3::timestamptz[])[1]
FROM unnest($1::text[], $2::text[]) AS l(trigger, lane)
CROSS JOIN LATERAL (
  SELECT c.* FROM (
    (SELECT h.id, h.seq, h.lane, h.also, h.due_at FROM pending h WHERE h.trigger = l.trigger AND h.lane = l.lane ORDER BY h.seq LIMIT 1)
    UNION ALL
    (SELECT h.id, h.seq, h.lane, h.also, h.due_at FROM pending h WHERE h.trigger = l.trigger AND h.also = l.lane ORDER BY h.seq LIMIT 1)
  ) AS c ORDER BY c.seq LIMIT 1
) AS head
WHERE p.id = head.id AND head.due_at IS NULL
  AND (head.also IS NULL
       OR NOT EXISTS (SELECT FROM pending q WHERE q.trigger = p.trigger AND q.seq < head.seq AND q.lane IN (head.lane, head.also))
          AND NOT EXISTS (SELECT FROM pending q WHERE q.trigger = p.trigger AND q.seq < head.seq AND q.also IN (head.lane, head.also)));

-- name: restage
-- Staged deliveries are tried again later. One that is not the head of its lane stays without a due time.
UPDATE pending p SET due_at = CASE WHEN p.due_at IS NOT NULL THEN n.due_at END, attempts = n.attempts, last_error = n.last_error
FROM unnest($1::uuid[], $2::timestamptz[], $3::integer[], $4::text[]) AS n(id, due_at, attempts, last_error)
WHERE p.id = n.id;

-- name: again
-- Final deliveries are staged again, in the order given, at the back of their lanes; attempts go on counting, the retry policy begins
-- anew. What is staged, or gone, or has no data is left as it is, so a second run changes nothing.
WITH n AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
                       $8::integer[], $9::integer[], $10::text[], $11::integer[])
  WITH ORDINALITY AS n(id, time, trigger, lane, also, due_at, since, attempts, size, remark, first, ordinal)
), back AS (
  UPDATE event_logs e SET status = 'staged', settled_at = NULL, remark = n.remark FROM n
  WHERE e.id = n.id AND e.time = n.time AND e.status <> 'staged' AND e.payload IS NOT NULL
  RETURNING e.id
), fresh AS (
  SELECT n.* FROM n WHERE (n.id IN (SELECT b.id FROM back b)) IS TRUE
)
INSERT INTO pending (id, time, trigger, lane, also, due_at, since, attempts, earlier, size, last_error)
SELECT f.id, f.time, f.trigger, f.lane, f.also,
       CASE WHEN f.lane IS NULL
              OR f.first = 1
                 AND NOT EXISTS (SELECT FROM pending p WHERE p.trigger = f.trigger AND p.lane = f.lane OFFSET 0)
                 AND NOT EXISTS (SELECT FROM pending p WHERE p.trigger = f.trigger AND p.also = f.lane OFFSET 0)
                 AND NOT EXISTS (SELECT FROM pending p WHERE p.trigger = f.trigger AND p.lane = f.also OFFSET 0)
                 AND NOT EXISTS (SELECT FROM pending p WHERE p.trigger = f.trigger AND p.also = f.also OFFSET 0)
            THEN f.due_at END,
       f.since, f.attempts, f.attempts, f.size, f.remark
FROM fresh f ORDER BY f.ordinal
ON CONFLICT DO NOTHING;

-- name: compact_timeout
-- A reader of positions (a dump, say) must not stop the recorder.
SET LOCAL lock_timeout = '100ms';

-- name: compact_lock
-- Waits shortly for readers before anything is thrown away.
LOCK TABLE positions IN ACCESS EXCLUSIVE MODE;

-- name: compact_read
-- The newest position of each source.
SELECT DISTINCT ON (source) source, settled, recorded, time, identity::text FROM positions ORDER BY source, seq DESC;

-- name: compact_empty
-- Throws away the positions' history, whole pages at a time.
TRUNCATE positions;

-- name: compact_write
-- Puts one position back, with the time as it was.
INSERT INTO positions (source, settled, recorded, time, identity) VALUES ($1::text, $2::bigint, $3::bigint, $4::timestamptz, $5::text::jsonb);

-- name: positions
-- How far each source is settled: the newest row of each. Time in microseconds since the Unix epoch.
SELECT DISTINCT ON (source) source, settled, recorded, coalesce((extract(epoch FROM time) * 1000000)::bigint, 0), identity::text
FROM positions ORDER BY source, seq DESC;

-- name: counts
-- How many deliveries wait, by trigger.
SELECT trigger, count(*) FROM pending GROUP BY trigger;

-- name: lanes
-- The lanes of a trigger's backlog and how many wait in each, at most so many lanes.
SELECT l.lane, count(*) FROM (
  SELECT lane FROM pending WHERE trigger = $1::text AND lane IS NOT NULL
  UNION ALL SELECT also FROM pending WHERE trigger = $1::text AND also IS NOT NULL
) AS l GROUP BY l.lane ORDER BY l.lane LIMIT $2::integer;

-- name: claim
-- What of a trigger's backlog may be sent now: due heads in the order of their due time, and when these are fewer than asked for,
-- a run of those that stand behind them, up to the first that waits for a second lane. NOT IN is a hashed look-up here, and the walk of the index stops at the limit.
WITH heads AS MATERIALIZED (
  SELECT h.*, row_number() OVER (ORDER BY h.due_at, h.seq) AS place
  FROM (
    SELECT p.seq, p.id, p.time, p.lane, p.also, p.due_at, p.attempts, p.size, p.earlier, p.since
    FROM pending p
    WHERE p.trigger = $1::text AND p.due_at <= ($3::timestamptz[])[1] AND p.id NOT IN (SELECT unnest($2::uuid[]))
    ORDER BY p.due_at, p.seq LIMIT $4::integer
  ) AS h
), followers AS (
  SELECT f.seq, f.id, f.time, f.lane, f.also, f.due_at, f.attempts, f.size, f.earlier, f.since, h.place
  FROM heads h CROSS JOIN LATERAL (
    SELECT p.* FROM pending p
    WHERE p.trigger = $1::text AND p.lane = h.lane AND p.seq > h.seq AND p.id NOT IN (SELECT unnest($2::uuid[]))
      AND p.also IS NULL AND h.also IS NULL
      AND NOT EXISTS (SELECT FROM pending k WHERE k.trigger = $1::text AND k.lane = h.lane AND k.also IS NOT NULL AND k.seq < p.seq)
      AND NOT EXISTS (SELECT FROM pending k WHERE k.trigger = $1::text AND k.also = h.lane AND k.seq < p.seq)
    ORDER BY p.seq LIMIT $5::integer
  ) AS f
  ORDER BY h.place, f.seq
  LIMIT greatest(0, $4::integer - (SELECT count(*) FROM heads))
)
SELECT c.id::text, (extract(epoch FROM c.time) * 1000000)::bigint, c.lane, c.attempts, c.size, c.also, c.earlier,
       extract(epoch FROM c.since)::float8
FROM (SELECT 0 AS behind, heads.* FROM heads UNION ALL
      SELECT 1, f.seq, f.id, f.time, f.lane, f.also, f.due_at, f.attempts, f.size, f.earlier, f.since, f.place FROM followers f) AS c
ORDER BY c.behind, c.place, c.seq;

-- name: paused
-- The triggers that are paused: since when (seconds since the Unix epoch), and by whom.
SELECT trigger, extract(epoch FROM since)::float8, who FROM paused ORDER BY trigger;

-- name: pause
-- Pauses a trigger; one that is paused stays so since then.
INSERT INTO paused (trigger, who) VALUES ($1::text, $2::text) ON CONFLICT DO NOTHING;

-- name: resume
-- A paused trigger goes on.
DELETE FROM paused WHERE trigger = $1::text;

-- name: next_due
-- When the next head of a trigger's backlog becomes due, in seconds since the Unix epoch.
SELECT extract(epoch FROM due_at)::float8 FROM pending
WHERE trigger = $1::text AND due_at > ($2::timestamptz[])[1] ORDER BY due_at LIMIT 1;

-- name: events
-- The events of claimed deliveries, and since when each is known, in seconds since the Unix epoch. The bounds let the planner leave out
-- the other days' partitions.
SELECT e.id::text, e.type, e.source, e.subject, e.key, e.position, e.payload, e.extensions, extract(epoch FROM e.created_at)::float8
FROM unnest($1::uuid[], $2::timestamptz[]) AS n(id, time) JOIN event_logs e ON e.id = n.id AND e.time = n.time
WHERE e.time BETWEEN ($3::timestamptz[])[1] AND ($3::timestamptz[])[2];

-- name: known
-- Which of these deliveries event_logs holds already.
SELECT e.id::text
FROM unnest($1::uuid[], $2::timestamptz[]) AS n(id, time) JOIN event_logs e ON e.id = n.id AND e.time = n.time
WHERE e.time BETWEEN ($3::timestamptz[])[1] AND ($3::timestamptz[])[2];

-- name: sizes
-- About how many rows event_logs has since a time, from the planner's statistics: too many to count are sampled.
SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'event_logs'::regclass;

-- name: outcomes
-- Deliveries by trigger and status since a time, from a sample of the pages (100: all of them).
SELECT trigger, status, count(*) FROM event_logs TABLESAMPLE SYSTEM ($1::float8)
WHERE time >= ($2::timestamptz[])[1] AND status IN ('processed', 'cancelled') GROUP BY trigger, status;

-- name: failures
-- Failed deliveries by trigger since a time, counted by their own index, and why the newest of them failed.
SELECT DISTINCT ON (trigger) trigger, count(*) OVER (PARTITION BY trigger), remark, extract(epoch FROM settled_at)::float8
FROM event_logs WHERE status = 'failed' AND time >= ($1::timestamptz[])[1] ORDER BY trigger, id DESC;

-- name: backlog
-- What waits, by trigger: how many, since when (seconds since the Unix epoch), and the newest error among the due ones.
SELECT b.trigger, b.waiting, b.oldest, e.last_error
FROM (SELECT trigger, count(*) AS waiting, extract(epoch FROM min(time))::float8 AS oldest FROM pending GROUP BY trigger) AS b
LEFT JOIN LATERAL (
  SELECT p.last_error FROM pending p
  WHERE p.trigger = b.trigger AND p.due_at IS NOT NULL AND p.last_error IS NOT NULL ORDER BY p.due_at DESC LIMIT 1
) AS e ON true;

-- name: default_days
-- The days of which the default partitions hold rows, as days since 1970-01-01.
SELECT DISTINCT floor(extract(epoch FROM time) / 86400)::integer FROM event_logs_default
UNION SELECT floor(extract(epoch FROM time) / 86400)::integer FROM invocation_logs_default ORDER BY 1;

-- name: prune_default_invocations
-- Attempts in the default partition that are past retention.
DELETE FROM invocation_logs_default d WHERE d.time < ($1::timestamptz[])[1]
  AND NOT EXISTS (SELECT FROM pending p WHERE p.id = d.event_id);

-- name: prune_default_events
-- Deliveries in the default partition that are past retention and final: too far from today for partitions of their own.
DELETE FROM event_logs_default WHERE time < ($1::timestamptz[])[1] AND status <> 'staged';

-- name: enqueue
-- Custom events that come in, each once: one whose id was given and is known already is left out. Returns the ids of the new ones.
WITH n AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::json[], $8::json[], $9::integer[],
                       $10::integer[], $11::integer[])
  WITH ORDINALITY AS n(id, due_at, type, source, subject, key, payload, extensions, at_once, size, given, ordinal)
), known AS (
  INSERT INTO queued_ids (id, time) SELECT n.id, greatest(now(), max(n.due_at)) FROM n WHERE n.given = 1 GROUP BY n.id
  ON CONFLICT DO NOTHING RETURNING id
), once AS (
  SELECT DISTINCT ON (n.id) n.* FROM n WHERE n.given = 0 OR (n.id IN (SELECT k.id FROM known k)) IS TRUE ORDER BY n.id, n.ordinal
)
INSERT INTO queued (id, due_at, at_once, type, source, subject, key, payload, size, extensions)
SELECT o.id, o.due_at, o.at_once = 1, o.type, o.source, o.subject, o.key, o.payload, o.size, o.extensions FROM once o ORDER BY o.ordinal
ON CONFLICT DO NOTHING RETURNING id;

-- name: enqueue_first
-- Custom events that come in with ids that were made for them, the first time that anybody writes them: a third of what `enqueue` costs.
INSERT INTO queued (id, due_at, at_once, type, source, subject, key, payload, size, extensions)
SELECT n.id, n.due_at, n.at_once = 1, n.type, n.source, n.subject, n.key, n.payload, n.size, n.extensions
FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::json[], $8::json[], $9::integer[], $10::integer[])
AS n(id, due_at, type, source, subject, key, payload, extensions, at_once, size);

-- name: queue_take
-- Custom events that are due, those for now and scheduled ones by turns, each in order: as many as make so many bytes but at least
-- one; without the payload where it is too large. What is on its way already ($5) is left out; of those for now everything up to the
-- number $6 is, so that a long snapshot, which keeps in the index what has left, costs nothing. Last its number, and whether it is for now.
-- Scheduled ones are marked, so that they can be cancelled until then and not any more from then on; one that is just being
-- cancelled is passed over.
WITH at_once AS MATERIALIZED (
  SELECT q.seq, q.id, q.due_at, q.type, q.source, q.subject, q.key, q.payload, q.extensions, q.size, true AS taken, true AS now,
         row_number() OVER (ORDER BY q.seq) AS place
  FROM (SELECT * FROM queued WHERE at_once AND seq > $6::bigint AND id NOT IN (SELECT unnest($5::text[])) ORDER BY seq LIMIT $2::integer) AS q
), locked AS MATERIALIZED (
  SELECT q.* FROM queued q WHERE NOT q.at_once AND q.due_at <= ($1::timestamptz[])[1] AND q.id NOT IN (SELECT unnest($5::text[]))
  ORDER BY q.due_at, q.seq LIMIT $2::integer FOR UPDATE SKIP LOCKED
), scheduled AS (
  SELECT q.seq, q.id, q.due_at, q.type, q.source, q.subject, q.key, q.payload, q.extensions, q.size, q.taken, false AS now,
         row_number() OVER (ORDER BY q.due_at, q.seq) AS place
  FROM locked q
), due AS MATERIALIZED (
  SELECT d.* FROM (
    SELECT b.*, sum(least(b.size, $4::bigint)) OVER (ORDER BY b.place, b.seq ROWS UNBOUNDED PRECEDING) - least(b.size, $4::bigint) AS before
    FROM (SELECT * FROM at_once UNION ALL SELECT * FROM scheduled) AS b
  ) AS d WHERE d.before = 0 OR d.before < $3::bigint
), marked AS (
  UPDATE queued q SET taken = true FROM due d WHERE q.id = d.id AND NOT d.taken
)
SELECT d.id, (extract(epoch FROM d.due_at) * 1000000)::bigint, d.type, d.source, d.subject, d.key,
       CASE WHEN d.size <= $4::bigint THEN d.payload END, d.extensions, d.size, d.seq, d.now
FROM due d ORDER BY d.place, d.seq;

-- name: queue_next
-- When the first scheduled custom event that is not on its way ($2) becomes due, in seconds since the Unix epoch; one that was due
-- at $1 is just being cancelled or moved.
SELECT extract(epoch FROM due_at)::float8 FROM queued
WHERE NOT at_once AND due_at > ($1::timestamptz[])[1] - interval '1 hour' AND id NOT IN (SELECT unnest($2::text[]))
ORDER BY due_at LIMIT 1;

-- name: prune_queued_ids
-- Ids of custom events that are past retention, a few at a time.
DELETE FROM queued_ids WHERE id IN (SELECT i.id FROM queued_ids i WHERE i.time < ($1::timestamptz[])[1] ORDER BY i.time LIMIT $2::integer);

-- name: scheduled
-- Custom events for later, in order, behind the place ($1, $2), of one type or ('') of any, at most so many.
SELECT q.id, (extract(epoch FROM q.due_at) * 1000000)::bigint, q.seq, q.type, q.source, q.subject, q.key,
       (extract(epoch FROM q.queued_at) * 1000000)::bigint
FROM queued q
WHERE NOT q.at_once AND NOT q.taken AND (q.due_at, q.seq) > (($1::timestamptz[])[1], $2::bigint) AND ($3::text = '' OR q.type = $3::text)
ORDER BY q.due_at, q.seq LIMIT $4::integer;

-- name: scheduled_known
-- Whether a custom event has not become deliveries yet.
SELECT EXISTS (SELECT FROM queued WHERE id = $1::text);

-- name: cancel_scheduled
-- Takes back a custom event; false when it is not there or on its way.
SELECT cancel($1::text);

-- name: move_scheduled
-- Moves a custom event to another time; false when it is not there or on its way.
SELECT move($1::text, ($2::timestamptz[])[1]);

-- name: dequeue
-- Custom events whose deliveries are settled: all of them are in event_logs, from this commit on at the latest.
DELETE FROM queued WHERE id = ANY($1::text[]);

-- name: queue_channel
-- The channel on which the daemon is told that something was queued.
SELECT 'cdcd_queued_' || 'queued'::regclass::oid;

-- name: queue_notifies
-- Whether whoever queues may notify (see wake).
SELECT current_setting('max_prepared_transactions') = '0';

-- name: queue_awake
-- Tells those who queue that the daemon looks by itself; false when it cannot be told just now.
SELECT pg_try_advisory_lock(hashtextextended('cdcd.queue.awake', 'queued'::regclass::oid::bigint));

-- name: queue_sleep
-- They shall notify again.
SELECT pg_advisory_unlock(hashtextextended('cdcd.queue.awake', 'queued'::regclass::oid::bigint));

-- name: queue_left
-- Whether one is left, beside those on their way ($3), of the events up to this number that are for now or were due at this moment.
SELECT EXISTS (SELECT FROM queued WHERE at_once AND seq <= $1::bigint AND id NOT IN (SELECT unnest($3::text[])))
    OR EXISTS (SELECT FROM queued WHERE NOT at_once AND due_at <= ($2::timestamptz[])[1] AND seq <= $1::bigint
               AND id NOT IN (SELECT unnest($3::text[])));

-- name: queue_written
-- The highest number that a custom event was given, whether its transaction has ended or not.
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM queued_seq_seq;

-- name: queue_writers
-- The transactions that are writing to the queue: by their virtual ids, or what they were prepared as.
SELECT DISTINCT CASE WHEN l.pid IS NOT NULL THEN l.virtualtransaction END, CASE WHEN l.pid IS NULL THEN l.virtualtransaction END
FROM pg_locks l
WHERE l.locktype = 'relation' AND l.relation = 'queued'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());

-- name: wake
-- Tells the daemon that something was queued.
SELECT wake();

-- name: store_known
-- Where a store of files was and on which device, when it was last looked at whole; and its mounts.
SELECT root, device, mounts, mount_devices, moving FROM stores WHERE name = $1::text;

-- name: store_seen
-- A store of files has been looked at whole.
INSERT INTO stores (name, root, device) VALUES ($1::text, $2::bytea, $3::bigint)
ON CONFLICT (name) DO UPDATE SET root = excluded.root, device = excluded.device, looked_at = now();

-- name: store_mounts
-- The mounts of a store of files.
UPDATE stores SET mounts = $2::bytea[], mount_devices = $3::bigint[] WHERE name = $1::text;

-- name: store_moving
-- The renames of directories in a store of files that are not yet kept whole: old path, new path, and so on.
UPDATE stores SET moving = $2::bytea[] WHERE name = $1::text;

-- name: store_accept
-- Whatever is in a store of files at the next look is what it holds.
UPDATE stores SET device = -1, mounts = '{}', mount_devices = '{}' WHERE name = $1::text;

-- name: stores_status
-- The stores of files: when each was first and last looked at whole (seconds since the Unix epoch), and how many entries it has.
SELECT s.name, extract(epoch FROM s.seen_from)::float8, extract(epoch FROM s.looked_at)::float8,
       (SELECT count(*) FROM trees t WHERE t.store = s.name)
FROM stores s ORDER BY s.name;

-- name: tree
-- What a store held, a page at a time in the order of the index: path and packed entry (kind, size, time, inode, hash).
SELECT t.path, CASE t.kind WHEN 'dir' THEN '\x01'::bytea ELSE '\x00' END
       || int8send(t.size) || int8send(t.mtime_ns) || int8send(t.inode) || coalesce(t.sha256, '')
FROM trees t
WHERE t.store = $1::text AND CASE WHEN length(t.path) <= 1000 THEN t.path ELSE '\x00'::bytea || sha256(t.path) END > $2::bytea
ORDER BY t.store, CASE WHEN length(t.path) <= 1000 THEN t.path ELSE '\x00'::bytea || sha256(t.path) END LIMIT $3::integer;

-- name: tree_keep
-- Entries of a store as they are now.
INSERT INTO trees (store, path, kind, size, mtime_ns, inode, sha256)
SELECT $1::text, n.* FROM unnest($2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[]) AS n
ON CONFLICT (store, (CASE WHEN length(path) <= 1000 THEN path ELSE '\x00'::bytea || sha256(path) END)) DO UPDATE
SET kind = excluded.kind, size = excluded.size, mtime_ns = excluded.mtime_ns, inode = excluded.inode, sha256 = excluded.sha256;

-- name: tree_empty
-- A store is looked at for the first time: what an earlier first look left that was broken off is forgotten.
DELETE FROM trees WHERE store = $1::text;

-- name: in_force
-- The triggers that count, and those that are gone and may still be owed something, by where their events come from.
SELECT name, source, definition::text, number FROM in_force;

-- name: in_force_note
-- These count in the configuration of this number.
INSERT INTO in_force (name, source, definition, number)
SELECT n.name, n.source, n.definition::json, $4::bigint FROM unnest($1::text[], $2::text[], $3::text[]) AS n(name, source, definition)
ON CONFLICT (name, source) DO UPDATE SET definition = excluded.definition, number = excluded.number;

-- name: in_force_forget
-- What those were owed that count no more since the configuration of this number is in the backlog, as far as it comes from these sources.
DELETE FROM in_force WHERE source = ANY ($1::text[]) AND number < $2::bigint;

-- name: tree_forget
-- Entries of a store that are gone.
DELETE FROM trees t USING unnest($2::bytea[]) AS n(path)
WHERE t.store = $1::text AND CASE WHEN length(t.path) <= 1000 THEN t.path ELSE '\x00'::bytea || sha256(t.path) END
                           = CASE WHEN length(n.path) <= 1000 THEN n.path ELSE '\x00'::bytea || sha256(n.path) END;

-- name: schedules
-- How far each schedule has ticked, in seconds since the Unix epoch, and of which schedule that was said.
SELECT trigger, schedule, timezone, extract(epoch FROM last_tick)::float8 FROM schedules;

-- name: ticked
-- Schedules have been dealt with up to these ticks.
INSERT INTO schedules (trigger, schedule, timezone, last_tick)
SELECT n.* FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS n
ON CONFLICT (trigger) DO UPDATE
SET schedule = excluded.schedule, timezone = excluded.timezone, last_tick = excluded.last_tick, at = now();

-- name: oldest_staged
-- Since when (event time, seconds since the Unix epoch) the backlog of each of these triggers waits: the oldest of up to 10,000 heads of
-- lanes, each of which is the oldest of its lane.
SELECT t.name, extract(epoch FROM (SELECT min(h.time) FROM (
  SELECT p.time FROM pending p WHERE p.trigger = t.name AND p.due_at IS NOT NULL LIMIT 10000
) AS h))::float8
FROM unnest($1::text[]) AS t(name);

-- name: queue_size
-- Custom events that are due or being delivered, and those for later: of up to 10,000 of both, and whether there are more.
SELECT count(*) FILTER (WHERE q.at_once OR q.taken), count(*) FILTER (WHERE NOT (q.at_once OR q.taken)), count(*) > 10000
FROM (SELECT at_once, taken FROM queued LIMIT 10001) AS q;

-- name: forget_schedules
-- Triggers that are gone or off: they begin anew if they come back.
DELETE FROM schedules WHERE trigger <> ALL($1::text[]);

-- name: matching
-- The conditions of a filter; stands for {matching} in the walks.
($4::text[] IS NULL OR e.status = ANY ($4)) AND ($5::text[] IS NULL OR e.trigger = ANY ($5)) AND ($6::text IS NULL OR e.key = $6)
AND ($7::text[] IS NULL OR e.type = ANY ($7)) AND ($8::text IS NULL OR e.source = $8 OR e.source LIKE $9)
AND ($10::text IS NULL OR e.payload::text ILIKE $10)
AND ($11::text IS NULL OR e.remark ILIKE $11
     OR e.status = 'staged' AND EXISTS (SELECT FROM pending p WHERE p.id = e.id AND p.last_error ILIKE $11))

-- name: columns
-- What a list shows of a delivery; stands for {columns} in the walks. Times in microseconds since the Unix epoch.
e.id, e.time, e.type, e.source, e.subject, e.trigger, e.key, e.status, e.attempts, e.remark, e.created_at, e.settled_at, e.extensions

-- name: walking
-- Sets up a connection for walks: each is to be read in the order of its own index, and not from another one and sorted then, whatever the
-- statistics promise.
SELECT set_config('enable_sort', 'off', false), set_config('enable_incremental_sort', 'off', false);

-- name: by_id
-- A walk over deliveries, newest first: those with ids ($1) and times ($2) from one to before another, at most $3. Comparing rows
-- instead of columns leaves the planner one index, whatever its statistics say.
SELECT {columns} FROM event_logs e
WHERE e.id >= ($1::uuid[])[1] AND e.id < ($1::uuid[])[2] AND e.time >= ($2::timestamptz[])[1] AND e.time < ($2::timestamptz[])[2] AND {matching}
ORDER BY e.id DESC LIMIT $3::bigint

-- name: by_trigger
-- The same walk, over the deliveries of some triggers.
SELECT e.* FROM unnest($5::text[]) AS t(name) CROSS JOIN LATERAL (
  SELECT {columns} FROM event_logs e
  WHERE (e.trigger, e.id) >= (t.name, ($1::uuid[])[1]) AND (e.trigger, e.id) < (t.name, ($1::uuid[])[2])
    AND e.time >= ($2::timestamptz[])[1] AND e.time < ($2::timestamptz[])[2] AND {matching}
  ORDER BY e.trigger DESC, e.id DESC LIMIT $3::bigint
) AS e ORDER BY e.id DESC LIMIT $3::bigint

-- name: by_key
-- The same walk, over the deliveries with one key, or whose key begins with the same 200 characters.
SELECT {columns} FROM event_logs e
WHERE (left(e.key, 200), e.id) >= (left($6::text, 200), ($1::uuid[])[1]) AND (left(e.key, 200), e.id) < (left($6::text, 200), ($1::uuid[])[2])
  AND e.time >= ($2::timestamptz[])[1] AND e.time < ($2::timestamptz[])[2] AND {matching}
ORDER BY left(e.key, 200) DESC, e.id DESC LIMIT $3::bigint

-- name: by_status
-- The same walk, over the deliveries with some statuses other than `processed`.
SELECT e.* FROM unnest($4::text[]) AS s(name) CROSS JOIN LATERAL (
  SELECT {columns} FROM event_logs e
  WHERE e.status <> 'processed' AND (e.status, e.id) >= (s.name, ($1::uuid[])[1]) AND (e.status, e.id) < (s.name, ($1::uuid[])[2])
    AND e.time >= ($2::timestamptz[])[1] AND e.time < ($2::timestamptz[])[2] AND {matching}
  ORDER BY e.status DESC, e.id DESC LIMIT $3::bigint
) AS e ORDER BY e.id DESC LIMIT $3::bigint

-- name: by_status_and_trigger
-- The same walk, over the deliveries of some triggers with some statuses other than `processed`.
SELECT e.* FROM unnest($4::text[]) AS s(name) CROSS JOIN unnest($5::text[]) AS t(name) CROSS JOIN LATERAL (
  SELECT {columns} FROM event_logs e
  WHERE e.status <> 'processed' AND (e.status, e.trigger, e.id) >= (s.name, t.name, ($1::uuid[])[1])
    AND (e.status, e.trigger, e.id) < (s.name, t.name, ($1::uuid[])[2])
    AND e.time >= ($2::timestamptz[])[1] AND e.time < ($2::timestamptz[])[2] AND {matching}
  ORDER BY e.status DESC, e.trigger DESC, e.id DESC LIMIT $3::bigint
) AS e ORDER BY e.id DESC LIMIT $3::bigint

-- name: walk_page
-- What a walk finds.
SELECT w.id::text, (extract(epoch FROM w.time) * 1000000)::bigint, w.type, w.source, w.subject, w.trigger, w.key, w.status,
       w.attempts, w.remark, (extract(epoch FROM w.created_at) * 1000000)::bigint, (extract(epoch FROM w.settled_at) * 1000000)::bigint,
       w.extensions
FROM ({walk}) AS w;

-- name: walk_count
-- How many a walk finds.
SELECT count(*) FROM ({walk}) AS w;

-- name: walk_edge
-- Where a walk is after so many rows, none of them looked at.
SELECT w.id::text FROM ({walk}) AS w OFFSET $3::bigint - 1;

-- name: waiting
-- How these stand in the backlog: due time (microseconds since the Unix epoch), attempts, last error.
SELECT p.id::text, (extract(epoch FROM p.due_at) * 1000000)::bigint, p.attempts, p.last_error
FROM unnest($1::uuid[]) AS n(id) JOIN pending p ON p.id = n.id;

-- name: delivery
-- One delivery whole, with its data if it is asked for ($3). The bounds of its time leave out the other days' partitions. Times in
-- microseconds since the Unix epoch.
SELECT e.id::text, (extract(epoch FROM e.time) * 1000000)::bigint, e.type, e.source, e.subject, e.trigger, e.key, e.status,
       e.attempts, e.remark, (extract(epoch FROM e.created_at) * 1000000)::bigint, (extract(epoch FROM e.settled_at) * 1000000)::bigint,
       e.extensions, e.position, e.payload IS NOT NULL, CASE WHEN $3::boolean THEN e.payload END, (SELECT r.url FROM redirected r WHERE r.id = e.id)
FROM event_logs e
WHERE e.id = ($1::uuid[])[1] AND e.time >= ($2::timestamptz[])[1] AND e.time < ($2::timestamptz[])[2];

-- name: attempts
-- The attempts of a delivery, in order. `at` in microseconds since the Unix epoch.
SELECT i.number, (extract(epoch FROM i.at) * 1000000)::bigint, i.duration_ms, i.status_code, i.response, i.error
FROM invocation_logs i
WHERE i.event_id = ($1::uuid[])[1] AND i.time >= ($2::timestamptz[])[1] AND i.time < ($2::timestamptz[])[2] ORDER BY i.number;

-- name: place
-- Where a delivery stands in the backlog: its lane, its due time (microseconds since the Unix epoch), attempts, last error, attempts of
-- earlier series, how many stand before it in its lane (at most so many are counted), and the first of them.
SELECT p.lane, (extract(epoch FROM p.due_at) * 1000000)::bigint, p.attempts, p.last_error, p.earlier,
       (SELECT count(*) FROM (SELECT FROM pending b WHERE b.trigger = p.trigger AND b.lane = p.lane AND b.seq < p.seq LIMIT $2::integer) AS b),
       (SELECT b.id::text FROM pending b WHERE b.trigger = p.trigger AND b.lane = p.lane AND b.seq < p.seq ORDER BY b.seq LIMIT 1)
FROM pending p WHERE p.id = ($1::uuid[])[1];

-- name: weights
-- About how many bytes the data of these deliveries takes, compressed.
SELECT e.id::text, coalesce(pg_column_size(e.payload), 0)
FROM unnest($1::uuid[], $2::timestamptz[]) AS n(id, time) JOIN event_logs e ON e.id = n.id AND e.time = n.time
WHERE e.time BETWEEN ($3::timestamptz[])[1] AND ($3::timestamptz[])[2];

-- name: subjects
-- Deliveries with all that is needed to change them, or to send them once more.
SELECT e.id::text, (extract(epoch FROM e.time) * 1000000)::bigint, e.type, e.source, e.subject, e.trigger, e.key, e.status, e.attempts,
       e.remark, e.position, e.payload, e.extensions, p.lane, p.also, p.due_at IS NOT NULL, p.attempts, p.last_error, r.url
FROM unnest($1::uuid[], $2::timestamptz[]) AS n(id, time) JOIN event_logs e ON e.id = n.id AND e.time = n.time
LEFT JOIN pending p ON p.id = e.id LEFT JOIN redirected r ON r.id = e.id
WHERE e.time BETWEEN ($3::timestamptz[])[1] AND ($3::timestamptz[])[2];

-- name: redirect
-- Where these deliveries were sent instead of to their trigger's webhook.
INSERT INTO redirected (id, url, operation) SELECT n.id, n.url, ($3::uuid[])[1] FROM unnest($1::uuid[], $2::text[]) AS n(id, url)
ON CONFLICT DO NOTHING;

-- name: operation_begun
-- An operator has asked for something.
INSERT INTO operations (id, action, filter, options, who, state, total, exact, done, remark, ended_at)
VALUES (($1::uuid[])[1], $2::text, $3::text::json, $4::text::json, $5::text, $6::text, $7::bigint, $8::boolean, $9::bigint, $10::text,
        CASE WHEN $6::text <> 'running' THEN now() END)
ON CONFLICT DO NOTHING;

-- name: operation_progress
-- How far a running operation has come.
UPDATE operations SET done = $2::bigint, skipped = $3::bigint, failed = $4::bigint, reached = ($5::uuid[])[1], remark = $6::text
WHERE id = ($1::uuid[])[1] AND state = 'running';

-- name: operation_ended
-- An operation is over.
UPDATE operations SET state = $2::text, remark = $3::text, ended_at = now() WHERE id = ($1::uuid[])[1] AND state = 'running';

-- name: operations
-- The operations, newest first, behind a place; with $3 only those that run. Times in microseconds since the Unix epoch.
SELECT o.id::text, o.action, o.filter, o.options, o.who, o.state, o.total, o.exact, o.done, o.skipped, o.failed, o.reached::text, o.remark,
       (extract(epoch FROM o.started_at) * 1000000)::bigint, (extract(epoch FROM o.ended_at) * 1000000)::bigint
FROM operations o
WHERE (o.started_at, o.id) < (($1::timestamptz[])[1], ($2::uuid[])[1]) AND (NOT $3::boolean OR o.state = 'running')
ORDER BY o.started_at DESC, o.id DESC LIMIT $4::integer;

-- name: operation
-- One operation.
SELECT o.id::text, o.action, o.filter, o.options, o.who, o.state, o.total, o.exact, o.done, o.skipped, o.failed, o.reached::text, o.remark,
       (extract(epoch FROM o.started_at) * 1000000)::bigint, (extract(epoch FROM o.ended_at) * 1000000)::bigint
FROM operations o WHERE o.id = ($1::uuid[])[1];

-- name: prune_operations
-- Operations that are past retention.
DELETE FROM operations WHERE state <> 'running' AND started_at < ($1::timestamptz[])[1];

-- name: prune_redirected
-- Notes about deliveries that are past retention.
DELETE FROM redirected WHERE at < ($1::timestamptz[])[1];

-- name: caused
-- The deliveries of events that followed from a delivery ($1), and those that repeat it, since its time; the first so many. Each side is
-- found by its own index before anything is sorted.
WITH following AS MATERIALIZED (
  (SELECT e.* FROM event_logs e WHERE e.extensions ->> 'causationid' = $1::text AND e.time >= ($2::timestamptz[])[1] OFFSET 0)
  UNION ALL
  (SELECT e.* FROM event_logs e WHERE e.extensions ->> 'cdcdreplayof' = $1::text AND e.time >= ($2::timestamptz[])[1] OFFSET 0)
)
SELECT e.id::text, (extract(epoch FROM e.time) * 1000000)::bigint, e.type, e.source, e.subject, e.trigger, e.key, e.status,
       e.attempts, e.remark, (extract(epoch FROM e.created_at) * 1000000)::bigint, (extract(epoch FROM e.settled_at) * 1000000)::bigint,
       e.extensions
FROM following e ORDER BY e.created_at, e.id LIMIT $3::integer;

-- name: caused_and_queued
-- Those of these custom events (ids) that are still in the queue: type, and when due (microseconds since the Unix epoch).
SELECT q.id, q.type, (extract(epoch FROM q.due_at) * 1000000)::bigint FROM queued q WHERE q.id = ANY($1::text[]) ORDER BY q.due_at, q.seq;

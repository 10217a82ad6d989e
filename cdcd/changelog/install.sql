-- The change log of cdcd. @..@ stand for names and texts (cdcd.changelog.install).

CREATE SCHEMA IF NOT EXISTS @schema@;

-- One row: whose log it is, and which one, so that a position is never applied to another log.
CREATE TABLE @schema@.changes_meta (
    project text NOT NULL,
    version int NOT NULL,
    log uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid()
);
INSERT INTO @schema@.changes_meta (project, version) VALUES (@project@, 1);

-- No cache: the numbers must be given out in the order of time, across sessions.
CREATE SEQUENCE @schema@.changes_seq AS bigint NO CYCLE CACHE 1;

-- op: I, U, D or T (truncated). old, new: the row's text under fixed settings. shape, described: see changes_shapes.
-- was, became: where the row stood before and after, if its version before was made by the same transaction.
CREATE TABLE @schema@.changes (
    seq bigint NOT NULL DEFAULT pg_catalog.nextval(@sequence@),
    xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    relid oid NOT NULL,
    shape bigint NOT NULL,
    op "char" NOT NULL,
    described text,
    old text,
    new text,
    was tid,
    became tid
) PARTITION BY LIST (((seq >> @bits@) & 7));
CREATE INDEX changes_by_seq ON @schema@.changes (seq);
CREATE INDEX changes_again ON @schema@.changes (was) WHERE was IS NOT NULL;
@partitions@

-- What tables looked like, by a fingerprint of their columns and key.
CREATE TABLE @schema@.changes_shapes (
    relid oid NOT NULL,
    shape bigint NOT NULL,
    described text NOT NULL,
    PRIMARY KEY (relid, shape)
);

-- Describes `leaf` (a partition, or the table itself) as a part of the captured table `top`; as what it is if it is no part of it.
CREATE FUNCTION @schema@.changes_describe(top oid, leaf oid) RETURNS text
LANGUAGE sql STABLE SET search_path TO pg_catalog, pg_temp
AS $body$
    SELECT json_build_object(
        'schema', n.nspname,
        'name', t.relname,
        'columns', (
            SELECT coalesce(json_agg(json_build_array(
                a.attname, a.atttypid::bigint, a.atttypmod,
                coalesce(ta.attnum = ANY (k.columns), false),
                a.attgenerated = '' OR (a.attgenerated = 's' AND current_setting('server_version_num')::int >= 180000),
                coalesce(ta.attnum, a.attnum)) ORDER BY a.attnum), '[]')
            FROM pg_attribute a
            LEFT JOIN pg_attribute ta ON ta.attrelid = t.oid AND ta.attname = a.attname AND ta.attnum > 0 AND NOT ta.attisdropped
            WHERE a.attrelid = leaf AND a.attnum > 0 AND NOT a.attisdropped
        ))::text
    FROM pg_class t
    JOIN pg_namespace n ON n.oid = t.relnamespace
    LEFT JOIN LATERAL (
        SELECT (i.indkey::int2[])[0:i.indnkeyatts - 1] AS columns
        FROM pg_index i
        WHERE i.indrelid = t.oid AND CASE t.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
        LIMIT 1
    ) k ON true
    WHERE t.oid = CASE WHEN top IN (SELECT a.relid FROM pg_partition_ancestors(leaf) a) THEN top ELSE leaf END
$body$;

-- Writes one change down. Its argument is the OID of the captured table, which is not that of a partition below it.
CREATE FUNCTION @schema@.changes_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER @settings@
AS $body$
DECLARE
    mark bigint := @columns@;
    kept text := pg_catalog.current_setting('cdcd.mark_' || TG_RELID, true);
    told text := NULL;
    stood tid := NULL;
    stands tid := NULL;
BEGIN
    -- The key, and whether somebody has noted what the table looks like, is looked at once in a transaction and when the columns have
    -- changed: whoever reads a description notes it. Taken back to a savepoint, the setting goes with the change.
    IF pg_catalog.starts_with(kept, mark::text || '/') THEN
        mark := pg_catalog.split_part(kept, '/', 2)::bigint;
    ELSE
        kept := mark::text || '/';
        mark := mark # @key@;
        IF NOT EXISTS (SELECT FROM @schema@.changes_shapes s WHERE s.relid = TG_RELID AND s.shape = mark) THEN
            told := @schema@.changes_describe(TG_ARGV[0]::oid, TG_RELID);
        END IF;
        PERFORM pg_catalog.set_config('cdcd.mark_' || TG_RELID, kept || mark::text, true);
    END IF;
    -- Was this version of the row made by this transaction (or one that is younger)?
    IF TG_OP <> 'INSERT' THEN
        IF pg_catalog.age(OLD.xmin) <= pg_catalog.age(pg_catalog.pg_current_xact_id()::xid) THEN
            stood := OLD.ctid;
            PERFORM pg_catalog.set_config('cdcd.again', 'y', true);
        END IF;
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO @schema@.changes (relid, shape, op, described, new) VALUES (TG_RELID, mark, 'I', told, NEW::text);
    ELSIF TG_OP = 'UPDATE' THEN
        stands := NEW.ctid;
        INSERT INTO @schema@.changes (relid, shape, op, described, old, new, was, became)
        VALUES (TG_RELID, mark, 'U', told, OLD::text, NEW::text, stood, CASE WHEN stood IS NOT NULL THEN stands END);
    ELSE
        INSERT INTO @schema@.changes (relid, shape, op, described, old, was) VALUES (TG_RELID, mark, 'D', told, OLD::text, stood);
    END IF;
    -- A statement changes all its rows before the triggers of the first one run. What these did to the others is written down already,
    -- and comes behind what the statement did to them.
    IF TG_OP <> 'DELETE' THEN
        IF NEW.xmax <> '0'::xid AND pg_catalog.current_setting('cdcd.again', true) = 'y' THEN
            stands := NEW.ctid;
            LOOP
                UPDATE @schema@.changes c SET seq = pg_catalog.nextval(@sequence@), at = pg_catalog.clock_timestamp()
                WHERE c.was = stands AND c.relid = TG_RELID AND c.xid = pg_catalog.pg_current_xact_id()
                RETURNING c.became INTO stands;
                EXIT WHEN stands IS NULL;
            END LOOP;
        END IF;
    END IF;
    -- While the daemon is awake it looks by itself, and has this transaction in sight by the lock that it holds from the INSERT on:
    -- to notify would make all commits of the database wait for each other. (Tried and let go of at once, so that nothing stands in
    -- the daemon's way.) A transaction that has notified cannot be prepared: where that is allowed, the reader always looks by itself.
    IF pg_catalog.current_setting('max_prepared_transactions') = '0' AND (CASE
        WHEN pg_catalog.pg_try_advisory_lock_shared(@awake@) THEN pg_catalog.pg_advisory_unlock_shared(@awake@) ELSE false END)
    THEN
        PERFORM pg_catalog.pg_notify(@channel@, '');
    END IF;
    RETURN NULL;
END
$body$;

-- Writes down that a table was emptied.
CREATE FUNCTION @schema@.changes_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER @settings@
AS $body$
BEGIN
    INSERT INTO @schema@.changes (relid, shape, op, described)
    VALUES (TG_RELID, @fingerprint@, 'T', @schema@.changes_describe(TG_ARGV[0]::oid, TG_RELID));
    -- As in changes_row().
    IF pg_catalog.current_setting('max_prepared_transactions') = '0' AND (CASE
        WHEN pg_catalog.pg_try_advisory_lock_shared(@awake@) THEN pg_catalog.pg_advisory_unlock_shared(@awake@) ELSE false END)
    THEN
        PERFORM pg_catalog.pg_notify(@channel@, '');
    END IF;
    RETURN NULL;
END
$body$;

-- Nobody else may make them write down what did not happen.
REVOKE ALL ON FUNCTION @schema@.changes_row(), @schema@.changes_truncate() FROM PUBLIC;

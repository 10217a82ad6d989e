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
CREATE TABLE @schema@.changes (
    seq bigint NOT NULL DEFAULT pg_catalog.nextval(@sequence@),
    xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    relid oid NOT NULL,
    shape bigint NOT NULL,
    op "char" NOT NULL,
    described text,
    old text,
    new text
) PARTITION BY LIST (((seq >> @bits@) & 7));
CREATE INDEX changes_by_seq ON @schema@.changes (seq);
@partitions@

-- What tables looked like, by a fingerprint of their columns.
CREATE TABLE @schema@.changes_shapes (
    relid oid NOT NULL,
    shape bigint NOT NULL,
    described text NOT NULL,
    PRIMARY KEY (relid, shape)
);

-- Describes `leaf` (a partition, or the table itself) as a part of the captured table `top`.
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
    WHERE t.oid = coalesce((SELECT c.oid FROM pg_class c WHERE c.oid = top), leaf)
$body$;

-- Writes one change down. Its argument is the OID of the captured table, which is not that of a partition below it.
CREATE FUNCTION @schema@.changes_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER @settings@
AS $body$
DECLARE
    mark bigint := @fingerprint@;
    told text := NULL;
BEGIN
    -- Once in a transaction is enough: whoever reads it notes it. Taken back to a savepoint, the setting goes with the change.
    IF NOT EXISTS (SELECT FROM @schema@.changes_shapes s WHERE s.relid = TG_RELID AND s.shape = mark)
        AND pg_catalog.current_setting('cdcd.told_' || TG_RELID, true) IS DISTINCT FROM mark::text
    THEN
        told := @schema@.changes_describe(TG_ARGV[0]::oid, TG_RELID);
        PERFORM pg_catalog.set_config('cdcd.told_' || TG_RELID, mark::text, true);
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO @schema@.changes (relid, shape, op, described, new) VALUES (TG_RELID, mark, 'I', told, NEW::text);
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO @schema@.changes (relid, shape, op, described, old, new)
        VALUES (TG_RELID, mark, 'U', told, OLD::text, NEW::text);
    ELSE
        INSERT INTO @schema@.changes (relid, shape, op, described, old) VALUES (TG_RELID, mark, 'D', told, OLD::text);
    END IF;
    -- A transaction that has notified cannot be prepared: where that is allowed, the reader looks by itself.
    IF pg_catalog.current_setting('max_prepared_transactions') = '0' THEN
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
    -- A transaction that has notified cannot be prepared: where that is allowed, the reader looks by itself.
    IF pg_catalog.current_setting('max_prepared_transactions') = '0' THEN
        PERFORM pg_catalog.pg_notify(@channel@, '');
    END IF;
    RETURN NULL;
END
$body$;

-- Nobody else may make them write down what did not happen.
REVOKE ALL ON FUNCTION @schema@.changes_row(), @schema@.changes_truncate() FROM PUBLIC;

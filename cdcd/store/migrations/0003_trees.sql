-- The stores of files: what each held when it was last looked at, so that nothing that changes meanwhile is missed.

CREATE TABLE stores (
  name      text PRIMARY KEY,
  root      bytea NOT NULL,
  device    bigint NOT NULL,
  seen_from timestamptz NOT NULL DEFAULT now(),
  looked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE stores IS 'Directories that are watched and have been looked at whole at least once. Without its row here a store is new.';
COMMENT ON COLUMN stores.root IS 'The directory, as the bytes of its path.';
COMMENT ON COLUMN stores.device IS 'The file system it is on (st_dev). On another one the numbers of inodes say nothing.';

CREATE TABLE trees (
  store    text NOT NULL,
  path     bytea NOT NULL CHECK (path <> ''),
  kind     text NOT NULL CHECK (kind IN ('file', 'dir')),
  size     bigint NOT NULL CHECK (size >= 0),
  mtime_ns bigint NOT NULL,
  inode    bigint NOT NULL,
  sha256   bytea CHECK (length(sha256) = 32)
) WITH (
  fillfactor = 90,
  autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE trees IS 'Files and directories as they were last settled. A change is written in the commit that stages its deliveries.';
COMMENT ON COLUMN trees.path IS 'Relative to the store''s directory: the bytes of the path, which need not be UTF-8.';
COMMENT ON COLUMN trees.inode IS 'st_ino, as a signed number.';
-- A path may be longer than an entry of an index can be; no path has a NUL in it.
CREATE UNIQUE INDEX trees_path ON trees (store, (CASE WHEN length(path) <= 1000 THEN path ELSE '\x00'::bytea || sha256(path) END));

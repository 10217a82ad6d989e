-- The file systems that are mounted in a store of files, so that one that is not there is not taken for deleted.

ALTER TABLE stores
  ADD COLUMN mounts bytea[] NOT NULL DEFAULT '{}',
  ADD COLUMN mount_devices bigint[] NOT NULL DEFAULT '{}',
  ADD COLUMN moving bytea[] NOT NULL DEFAULT '{}',
  ADD CONSTRAINT stores_mounts_check CHECK (cardinality(mounts) = cardinality(mount_devices));
COMMENT ON COLUMN stores.mounts IS 'Directories on another device than the one they lie in: the bytes of their paths.';
COMMENT ON COLUMN stores.mount_devices IS 'The file system of each of them (st_dev).';
COMMENT ON COLUMN stores.moving IS 'Renames of directories that take several commits, while they do: old path, new path, and so on.';

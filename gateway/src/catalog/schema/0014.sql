-- 1: what `expect_etag` is of was found there and is another writer's, or nobody knows whose; it was not
-- taken over from a deletion. It stays where it is when the file leaves that key.
ALTER TABLE journal ADD COLUMN expect_seen INTEGER NOT NULL DEFAULT 0;
-- A walk from file to file of those that wait for each other, longer than one step: the inode that it has
-- come to, and the least one that it has met.
ALTER TABLE journal ADD COLUMN walk_at INTEGER;
ALTER TABLE journal ADD COLUMN walk_least INTEGER;
-- delete: the bytes of the object are a file's that has another object of them by now, or has them here.
-- sync: the same of `expect_etag`.
ALTER TABLE journal ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;
-- move: of the objects that it has found, those whose metadata S3 has to be asked for.
ALTER TABLE journal ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
-- sync: the inode's version when the gateway was started, if the row was there then.
ALTER TABLE journal ADD COLUMN start_version INTEGER;

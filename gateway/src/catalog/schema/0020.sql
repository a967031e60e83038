-- 1: mode or owner are the share's defaults, as far as anybody knows.
ALTER TABLE inode ADD COLUMN defaulted INTEGER NOT NULL DEFAULT 0;
-- What the root of a whole bucket was given by clients has no object to be told by.
UPDATE inode SET defaulted = 1 WHERE dirty = 0 AND parent <> ino;
-- The defaults that the share's rows have, or are being given: modes of files and directories, owner, group. NULL:
-- those that it was first served with.
ALTER TABLE share ADD COLUMN defaults TEXT;
-- The last inode that was given them; NULL: all have been.
ALTER TABLE share ADD COLUMN defaults_at INTEGER;

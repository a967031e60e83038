-- Cache disks besides the primary, which is number 0 and has no row.
CREATE TABLE disk (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT NOT NULL UNIQUE,
    path     TEXT NOT NULL,              -- where it was last
    draining INTEGER NOT NULL DEFAULT 0  -- 1: takes no new files
) STRICT;

-- The disk of the file's bytes; says nothing of a file without ranges.
ALTER TABLE inode ADD COLUMN disk INTEGER NOT NULL DEFAULT 0;
CREATE INDEX inode_disk ON inode (disk, ino) WHERE disk <> 0;

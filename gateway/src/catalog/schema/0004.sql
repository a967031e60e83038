-- Bytes of small files in the transaction that made them the file's content, so that one sync makes
-- both durable. A row goes once the cache file is known to have the bytes on the disk.
CREATE TABLE carried (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT, -- bytes that replace others get a new number
    ino   INTEGER NOT NULL UNIQUE,
    bytes BLOB NOT NULL                      -- the file from its beginning
) STRICT;

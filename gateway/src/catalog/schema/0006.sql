-- Checksums of the blocks of cache files (CRC-32C of 4 KiB, little-endian, 0 where it is not known,
-- nothing at the end where nothing is known). Of a file's first 16 blocks with its row, so that a small
-- file needs no other; of the rest 128 blocks to a row: a row of a full chunk stays within its page.
ALTER TABLE inode ADD COLUMN sums BLOB;
-- 1: when the gateway was cut off, this file was not in S3 and may have been in the middle of a write.
-- Bytes that do not match a sum may then be that write's.
ALTER TABLE inode ADD COLUMN unsure INTEGER NOT NULL DEFAULT 0;
CREATE TABLE sum (
    ino   INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    sums  BLOB NOT NULL,
    PRIMARY KEY (ino, chunk)
) STRICT, WITHOUT ROWID;

-- Since when S3 has not had what the row promises: milliseconds since 1970. Told to people only.
ALTER TABLE journal ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
UPDATE journal SET since = CAST(unixepoch('subsec') * 1000 AS INTEGER);
-- Of a renamed directory's walk: the objects it has found to move.
ALTER TABLE journal ADD COLUMN total INTEGER NOT NULL DEFAULT 0;
-- Of a large file: the bytes that are not what its object has, or may not be.
CREATE TABLE changed (
    ino   INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end   INTEGER NOT NULL,
    PRIMARY KEY (ino, start),
    CHECK (start < end)
) STRICT, WITHOUT ROWID;
-- The object that `changed` is about; NULL: every byte may have changed.
ALTER TABLE journal ADD COLUMN changed_of TEXT;

-- Since when S3 has not had what the row promises: milliseconds since 1970. Told to people only.
ALTER TABLE journal ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
UPDATE journal SET since = CAST(unixepoch('subsec') * 1000 AS INTEGER);
-- Of a renamed directory's walk: the objects it has found to move.
ALTER TABLE journal ADD COLUMN total INTEGER NOT NULL DEFAULT 0;

-- 1: the upload in parts was begun while the file was being written. Its object gets the attributes of the
-- middle of a write, which are those of no version.
ALTER TABLE journal ADD COLUMN upload_early INTEGER NOT NULL DEFAULT 0;

-- The sequence's value when the oldest change was made that S3 may lack of what this operation is about.
ALTER TABLE journal ADD COLUMN born INTEGER NOT NULL DEFAULT 0;
-- sync: versions of the inode that another course of events may have given it while this row was there, and no start of
-- this one has: `from-to,from-to`, each `to` exclusive.
ALTER TABLE journal ADD COLUMN gaps TEXT;
ALTER TABLE journal DROP COLUMN start_version;

-- The sequence's value when the oldest change was made that S3 may lack of what this operation is about.
ALTER TABLE journal ADD COLUMN born INTEGER NOT NULL DEFAULT 0;

-- The sequence's value when the change was made that this operation stems from.
ALTER TABLE journal ADD COLUMN born INTEGER NOT NULL DEFAULT 0;
-- sync: the sequence's value when the latest publish of this operation that S3 has taken as a whole was claimed.
ALTER TABLE journal ADD COLUMN taken INTEGER NOT NULL DEFAULT 0;

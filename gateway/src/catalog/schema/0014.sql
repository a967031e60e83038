-- move: of the objects that it has found, those whose metadata S3 has to be asked for.
ALTER TABLE journal ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;

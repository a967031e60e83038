-- sync: when it is to be due although the file is written on and on; the largest number is never.
ALTER TABLE journal ADD COLUMN latest INTEGER NOT NULL DEFAULT 9223372036854775807;

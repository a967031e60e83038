-- What the metadata of an upload in parts has that no other upload's has, so that the object that it
-- makes is known again. NULL: begun without.
ALTER TABLE journal ADD COLUMN upload_tag TEXT;
-- The version of the file that may have landed at `sent_key` in one request.
ALTER TABLE journal ADD COLUMN sent_version INTEGER;
-- 1: bytes of the file are neither here nor in S3. It is not sent before somebody writes them.
ALTER TABLE journal ADD COLUMN incomplete INTEGER NOT NULL DEFAULT 0;

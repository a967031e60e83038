-- S3's id of the version of the object that `etag` is of, in a bucket with versions, if it was told: a
-- listing tells the tag alone.
ALTER TABLE inode ADD COLUMN version_id TEXT;
CREATE TRIGGER inode_version_of_tag AFTER UPDATE OF etag ON inode
WHEN NEW.version_id IS NOT NULL AND NEW.version_id IS OLD.version_id AND NEW.etag IS NOT OLD.etag
BEGIN
    UPDATE inode SET version_id = NULL WHERE ino = NEW.ino;
END;

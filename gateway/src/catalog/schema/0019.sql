-- Other than 0: the object that `etag` is of is known to say nothing but what the row says, so that a copy of it needs
-- no question. Another number each time that an object is published: with another tag alone it is forgotten.
ALTER TABLE inode ADD COLUMN plain INTEGER NOT NULL DEFAULT 0;
CREATE TRIGGER inode_plain_of_tag AFTER UPDATE OF etag ON inode
WHEN NEW.plain <> 0 AND NEW.plain = OLD.plain AND NEW.etag IS NOT OLD.etag
BEGIN
    UPDATE inode SET plain = 0 WHERE ino = NEW.ino;
END;

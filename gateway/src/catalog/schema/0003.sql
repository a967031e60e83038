-- Each directory knows how many directories are in it: its links are that many and two more.
-- Kept by triggers, so that no path by which rows come, go or move can forget it.
ALTER TABLE inode ADD COLUMN subdirectories INTEGER NOT NULL DEFAULT 0;

UPDATE inode SET subdirectories = counted.n
FROM (
    SELECT parent, count(*) AS n FROM inode WHERE kind = 1 AND parent <> ino GROUP BY parent
) AS counted
WHERE inode.ino = counted.parent;

CREATE TRIGGER directory_comes AFTER INSERT ON inode WHEN NEW.kind = 1 AND NEW.parent <> NEW.ino
BEGIN
    UPDATE inode SET subdirectories = subdirectories + 1 WHERE ino = NEW.parent;
END;

CREATE TRIGGER directory_goes AFTER DELETE ON inode WHEN OLD.kind = 1 AND OLD.parent <> OLD.ino
BEGIN
    UPDATE inode SET subdirectories = subdirectories - 1 WHERE ino = OLD.parent;
END;

CREATE TRIGGER directory_moves AFTER UPDATE OF parent ON inode
WHEN NEW.kind = 1 AND OLD.parent <> NEW.parent AND NEW.parent <> NEW.ino
BEGIN
    UPDATE inode SET subdirectories = subdirectories - 1 WHERE ino = OLD.parent;
    UPDATE inode SET subdirectories = subdirectories + 1 WHERE ino = NEW.parent;
END;

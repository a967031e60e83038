-- Of a directory: no key below it has more bytes beyond the directory's own. At least what is true:
-- entries that go do not lower it.
ALTER TABLE inode ADD COLUMN deepest INTEGER NOT NULL DEFAULT 0;

WITH RECURSIVE
    inside (dir, bytes) AS (
        SELECT parent, max(octet_length(coalesce(key_part, name)) + (kind = 1))
        FROM inode WHERE parent <> ino GROUP BY parent),
    below (dir, bytes) AS (
        SELECT dir, bytes FROM inside
        UNION
        SELECT inode.parent, below.bytes + octet_length(coalesce(inode.key_part, inode.name)) + 1
        FROM below JOIN inode ON inode.ino = below.dir WHERE inode.parent <> inode.ino)
UPDATE inode SET deepest = longest.bytes
FROM (SELECT dir, max(bytes) AS bytes FROM below GROUP BY dir) AS longest
WHERE inode.ino = longest.dir;

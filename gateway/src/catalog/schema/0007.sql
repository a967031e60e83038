-- What of its key an entry stands for, where that is not its name (an alias).
ALTER TABLE inode ADD COLUMN key_part TEXT;
CREATE INDEX inode_parts ON inode (parent, key_part) WHERE key_part IS NOT NULL;
CREATE INDEX inode_aliases ON inode (share, ino) WHERE key_part IS NOT NULL;
-- A tree is walked by its directories, however many files are in them.
CREATE INDEX inode_directories ON inode (parent, ino) WHERE kind = 1;

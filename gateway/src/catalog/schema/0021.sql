-- Whether an object says more than its row is asked before each copy: others change that in place, and no tag tells.
DROP TRIGGER inode_plain_of_tag;
ALTER TABLE inode DROP COLUMN plain;

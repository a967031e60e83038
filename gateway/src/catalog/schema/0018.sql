-- Large files of which S3 lacks bytes, the largest first.
CREATE INDEX inode_large ON inode (size) 
    WHERE dirty = 1 AND size > 16777216 AND content_version > synced_version;

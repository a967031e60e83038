-- Times are nanoseconds since 1970. Object keys are complete (prefix and path).

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- seq: counts what a listing under way must not undo. clean: 1 when the catalog was closed in order.
-- Tells this catalog from every other: part of file handles, so that none can mean another file.
INSERT INTO meta (name, value) VALUES ('generation', random() & 0x7fffffffffffffff);
INSERT INTO meta (name, value) VALUES ('seq', 1), ('clean', 1);

CREATE TABLE share (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT NOT NULL,
    bucket  TEXT NOT NULL,
    prefix  TEXT NOT NULL,
    root    INTEGER NOT NULL,
    current INTEGER NOT NULL DEFAULT 1   -- 0: replaced by a share of the same name elsewhere
) STRICT;
CREATE UNIQUE INDEX share_by_name ON share (name) WHERE current = 1;

-- AUTOINCREMENT: an ino is never given out twice, so a file handle never means another file (I9).
CREATE TABLE inode (
    ino             INTEGER PRIMARY KEY AUTOINCREMENT,
    share           INTEGER NOT NULL,
    parent          INTEGER NOT NULL,           -- the root's is itself
    name            TEXT NOT NULL,
    kind            INTEGER NOT NULL,           -- 0 file, 1 directory, 2 symlink
    mode            INTEGER NOT NULL,
    uid             INTEGER NOT NULL,
    gid             INTEGER NOT NULL,
    size            INTEGER NOT NULL,
    atime           INTEGER NOT NULL,
    mtime           INTEGER NOT NULL,
    ctime           INTEGER NOT NULL,
    target          BLOB,
    verifier        BLOB,
    dirty           INTEGER NOT NULL,
    version         INTEGER NOT NULL,           -- counts changes
    content_version INTEGER NOT NULL,           -- version of the last change of the bytes
    synced_version  INTEGER NOT NULL,           -- version that the object has
    writing         INTEGER NOT NULL DEFAULT 0, -- version of an open burst of writes, or 0
    etag            TEXT,
    object_key      TEXT,
    needs_head      INTEGER NOT NULL DEFAULT 0,
    listed_at       INTEGER,
    list_seq        INTEGER NOT NULL DEFAULT 0,
    synced_seq      INTEGER NOT NULL DEFAULT 0,
    UNIQUE (parent, name)
) STRICT;
-- Below 16: reserved (directory cookies 1 and 2 are `.` and `..`).
INSERT INTO sqlite_sequence (name, seq) VALUES ('inode', 15);
CREATE INDEX inode_children ON inode (parent, ino);
CREATE INDEX inode_objects ON inode (share, object_key) WHERE object_key IS NOT NULL;
CREATE INDEX inode_dirty ON inode (share, ino) WHERE dirty = 1;
CREATE INDEX inode_writing ON inode (ino) WHERE writing <> 0;

-- Which bytes of the cache file are the content.
CREATE TABLE range (
    ino   INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end   INTEGER NOT NULL,
    PRIMARY KEY (ino, start),
    CHECK (start < end)
) STRICT, WITHOUT ROWID;

-- What S3 does not have yet.
CREATE TABLE journal (
    op             INTEGER PRIMARY KEY AUTOINCREMENT,
    kind           INTEGER NOT NULL,           -- 0 sync, 1 delete, 2 move, 3 abort
    share          INTEGER NOT NULL,
    ino            INTEGER,                    -- sync: the inode
    key            TEXT,                       -- delete, abort: the object; move: the old prefix
    etag           TEXT,                       -- delete: the object's tag
    uncertain      INTEGER NOT NULL DEFAULT 0, -- delete: an upload of ours may have replaced it
    cursor         TEXT,                       -- move: the last key looked at
    expect_key     TEXT,                       -- sync: a key whose pending deletion this took over
    expect_etag    TEXT,                       --       and the tag that object has
    sent_key       TEXT,                       -- sync: where a publish may have landed
    not_before     INTEGER NOT NULL,
    attempts       INTEGER NOT NULL DEFAULT 0,
    last_error     TEXT,
    failed_at      INTEGER,                    -- op of the order of failures
    upload_id      TEXT,
    upload_key     TEXT,
    upload_version INTEGER
) STRICT;
CREATE UNIQUE INDEX journal_syncs ON journal (ino) WHERE kind = 0;
CREATE UNIQUE INDEX journal_deletes ON journal (share, key) WHERE kind = 1;
CREATE INDEX journal_expected ON journal (share, expect_key) WHERE expect_key IS NOT NULL;
CREATE INDEX journal_moves ON journal (share, key) WHERE kind = 2;
CREATE INDEX journal_due ON journal (not_before, op) WHERE kind <> 2;
CREATE INDEX journal_failing ON journal (share) WHERE attempts > 0;

CREATE TABLE part (
    op     INTEGER NOT NULL,
    number INTEGER NOT NULL,
    etag   TEXT NOT NULL,
    start  INTEGER NOT NULL,
    end    INTEGER NOT NULL,
    PRIMARY KEY (op, number)
) STRICT, WITHOUT ROWID;

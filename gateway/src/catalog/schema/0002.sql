-- Requests that have changed something, in the transaction of the change: a client that repeats one
-- after a restart, as it got no reply, is told that it was done.
CREATE TABLE done (
    seq     INTEGER PRIMARY KEY,
    request BLOB NOT NULL,   -- 16 bytes
    ino     INTEGER NOT NULL -- what was made or changed; 0 when it is gone
) STRICT;

-- log: the number of the last batch of the dirty log whose transaction is in here.
INSERT INTO meta (name, value) VALUES ('log', 0);

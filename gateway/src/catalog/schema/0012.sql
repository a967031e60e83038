-- Who may have left an object at a key: asked before another file's object comes there.
CREATE INDEX journal_sent ON journal (share, sent_key) WHERE sent_key IS NOT NULL;

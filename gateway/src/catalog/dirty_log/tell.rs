//! What a batch tells: of what a transaction has changed, and of what only older files tell.
use rusqlite::Connection;

use super::{
    Batch, DirtyLog, Extent, Key, Known,
    entry::{self, Entry},
    noted::Notes,
};
use crate::{
    catalog::{error::CatalogError, range, schema},
    ids::Ino,
};

/// Inos that are promised at a time.
const INOS: u64 = 1 << 16;

impl DirtyLog {
    /// Tells what was noted.
    pub(super) fn tell(
        &mut self,
        db: &Connection,
        batch: &mut Batch,
        notes: Notes,
    ) -> Result<(), CatalogError> {
        if notes.last_ino > self.inos || self.inos == 0 {
            let last: u64 = db
                .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'inode'")?
                .query_row([], |row| row.get(0))?;
            self.inos = last.max(notes.last_ino).saturating_add(INOS);
            batch.entries.push(Entry::Inos(self.inos));
        }
        let mut inos = notes.inos;
        for note in notes.ranges {
            if !self.has_bytes(note.ino) {
                continue;
            }
            let known = self.known.get(&Key::Ino(note.ino));
            let goes_on = known.is_some_and(|known| {
                known.generation == self.generation && known.extent == Extent::All
            });
            if goes_on && !notes.undone {
                let (start, end) = (note.range.start, note.range.end);
                let is_here = note.is_here;
                batch.entries.push(Entry::Range { ino: note.ino, start, end, is_here });
                self.telling.push(Key::Ino(note.ino));
            } else {
                self.doubt(note.ino);
                inos.insert(note.ino);
            }
        }
        for ino in notes.gone_dirs {
            self.dirs.remove(&ino);
            batch.entries.push(Entry::NoDir(ino));
        }
        for ino in inos {
            self.tell_inode(db, batch, ino)?;
        }
        for op in notes.ops {
            self.tell_op(db, batch, op)?;
        }
        Ok(())
    }

    /// Tells whose log it is and where its shares and disks are, if they are asked for (`places`) or if the file tells
    /// everything from this batch on and has said that it does not. After everything else of the batch.
    pub(super) fn tell_head(
        &mut self,
        db: &Connection,
        batch: &mut Batch,
        places: bool,
    ) -> Result<(), CatalogError> {
        let rests_on = self.rests_on();
        if !places && (self.rested_on.is_none() || rests_on.is_some()) {
            return Ok(());
        }
        let number = "SELECT value FROM meta WHERE name = 'generation'";
        let catalog: u64 = db.query_row(number, [], |row| row.get(0))?;
        let is_anew = std::mem::take(&mut self.is_anew);
        let schema = schema::SCHEMA_VERSION;
        batch.entries.push(Entry::Head { catalog, schema, is_anew, rests_on });
        let (shares, disks) = entry::places(db)?;
        batch.entries.push(Entry::Places { shares, disks });
        self.rested_on = rests_on;
        Ok(())
    }

    /// Which bytes of it are here is to be told anew.
    fn doubt(&mut self, ino: u64) {
        if let Some(known) = self.known.get_mut(&Key::Ino(ino)) {
            known.extent = Extent::Nothing;
        }
    }

    /// Tells some of what only older files tell.
    pub(super) fn tell_again(
        &mut self,
        db: &Connection,
        batch: &mut Batch,
        entries: usize,
    ) -> Result<(), CatalogError> {
        let mut left = entries;
        while left > 0
            && let Some(key) = self.again.pop()
        {
            match self.known.get(&key) {
                Some(known) if known.generation < self.generation => {}
                Some(_) | None => continue,
            }
            // Before it is told: one that cannot be told now is told with a later batch.
            self.telling.push(key);
            match key {
                Key::Ino(ino) => self.tell_inode(db, batch, ino)?,
                Key::Op(op) => self.tell_op(db, batch, op)?,
            }
            left -= 1;
        }
        Ok(())
    }

    fn tell_inode(
        &mut self,
        db: &Connection,
        batch: &mut Batch,
        ino: u64,
    ) -> Result<(), CatalogError> {
        let key = Key::Ino(ino);
        let Some(mut record) = entry::record(db, ino)? else {
            if self.known.remove(&key).is_some() {
                batch.entries.push(Entry::Clean(ino));
                self.telling.push(key);
            }
            return Ok(());
        };
        self.tell_way(db, batch, record.parent)?;
        if record.kind == 1 {
            self.dirs.insert(ino);
        }
        let known = self.known.get(&key);
        let goes_on = known.is_some_and(|known| {
            known.generation == self.generation && known.extent == Extent::All
        });
        let is_new = known.is_none();
        // No attempt is about what S3 is known to have.
        let is_left = |since: &u64| *since > record.synced_version;
        let sent = record.sent.as_ref().and_then(|(_, version)| *version);
        let since = known.map(|known| known.since).into_iter().chain(sent).filter(is_left).min();
        let since = since.unwrap_or(record.version);
        record.since = since;
        let (extent, ranges) = if !record.has_bytes() {
            (Extent::Row, Some(Vec::new()))
        } else if goes_on {
            (Extent::All, None)
        } else {
            let ranges = range::of(db, Ino(ino))?;
            (Extent::All, Some(ranges.iter().map(|range| (range.start, range.end)).collect()))
        };
        // What is hidden at a key must not hide the directory that the key is in.
        let mut beside = Vec::new();
        let taken = record.expect.as_ref().map(|(key, _)| key);
        for key in record.object.iter().chain(taken) {
            if let Some(dir) = entry::dir_of_key(db, record.share, key)?
                && dir != record.parent
            {
                self.tell_way(db, batch, dir)?;
                beside.push(dir);
            }
        }
        let bytes = if record.has_bytes() { entry::carried(db, ino)? } else { None };
        let carried = bytes.as_ref().map(|bytes| bytes.len() as u64);
        batch.carried.extend(bytes.unwrap_or_default());
        batch.new_files += usize::from(is_new && record.is_bare());
        batch.entries.push(Entry::Dirty { record: Box::new(record), ranges, carried, beside });
        self.known.insert(key, Known { generation: self.generation, extent, since });
        self.telling.push(key);
        Ok(())
    }

    /// Tells where the directory `ino` is, as far as this file does not.
    fn tell_way(
        &mut self,
        db: &Connection,
        batch: &mut Batch,
        ino: u64,
    ) -> Result<(), CatalogError> {
        let mut at = ino;
        while self.dirs.insert(at) {
            let Some(dir) = entry::dir(db, at)? else {
                return Err(CatalogError::Corrupt(format!("inode {at} is no directory")));
            };
            at = dir.parent;
            batch.entries.push(Entry::Dir(dir));
        }
        Ok(())
    }

    fn tell_op(&mut self, db: &Connection, batch: &mut Batch, op: u64) -> Result<(), CatalogError> {
        let key = Key::Op(op);
        match entry::op(db, op)? {
            Some(row) => {
                let dir = entry::dir_of_key(db, row.share, &row.key)?;
                if let Some(dir) = dir {
                    self.tell_way(db, batch, dir)?;
                }
                batch.entries.push(Entry::Op { op: row, dir });
                let known = Known { generation: self.generation, extent: Extent::All, since: 0 };
                self.known.insert(key, known);
            }
            None if self.known.remove(&key).is_some() => batch.entries.push(Entry::Done(op)),
            None => return Ok(()),
        }
        self.telling.push(key);
        Ok(())
    }
}

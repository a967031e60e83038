//! The catalog: every inode, which of its bytes are cached, and what S3 does not have yet.
//!
//! Owns: `catalog.db` on the cache disk, and the object keys (share prefix + path). Every durable
//! change is one named transition: a method here, a savepoint in a group-committed transaction, a
//! crash-atomic unit. A transition's future resolves after the commit is on the disk; dropping it
//! leaves open whether the change happened. No SQL outside this folder.
//!
//! Must not know: S3, the cache's files, protocols. Lock rank: last; never calls back.
//!
//! Files: `namespace` (create, remove, rename), `content` (writes, attributes), `range`, `journal`
//! and `claim` (what the movers do), `turn` (files that are written on and on), `published`, `aside` (files that lack bytes), `swapped` (files that want each other's keys), `listing` (what S3 shows), `alias` (keys that no name can stand for), `carried`, `sums`, `share`, `disk` (where the bytes are), `done`, `counts`, `unsent`, `verify`, `dirty_log` (what S3 does not have, a second time) and `rebuild`. `rows` keeps what
//! is asked for most in memory.
mod alias;
mod aside;
mod carried;
mod changed;
mod claim;
mod content;
mod counts;
mod defaults;
mod depth;
mod dirty_log;
mod disk;
mod done;
mod due;
mod early;
mod epoch;
mod error;
mod failing;
mod flush;
mod held;
mod inode;
mod journal;
mod latest;
mod let_go;
mod link;
mod listing;
mod moves;
mod multipart;
mod namespace;
mod pragmas;
mod published;
mod range;
mod reader;
mod rebuild;
mod rows;
mod schema;
mod share;
mod sums;
mod swapped;
#[cfg(test)]
mod tests;
mod to_send;
mod turn;
mod types;
mod unsent;
mod verify;
mod writer;

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rusqlite::Connection;
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
};

pub use alias::Aliased;
pub use aside::SetAside;
pub use carried::{CARRIED_BYTES_MAX, Carried};
pub use changed::LARGE_FILE_BYTES;
pub use content::WriteBegun;
pub use disk::{DiskCounts, DiskRow};
pub use error::CatalogError;
pub use failing::{Failing, Work};
pub use flush::{Left, Watermark};
pub use held::Hold;
pub use let_go::LetGo;
pub use namespace::{Placed, RemoveKind, Removed, RenameSpec, Renamed};
pub use published::{Made, Published};
pub use range::ChangedObject;
pub use rebuild::{Move, Rebuilt, can_rebuild, note_damage};
pub use rows::Since;
pub use share::RootAttr;
pub use sums::{EndSum, ForRead, SumsNow};
pub use to_send::ToSend;
pub use types::{
    AttrChange, DeleteJob, DurableBytes, EarlyJob, Expected, Finish, HeadAttr, Inode, Job,
    ListDefaults, ListedEntry, ListedKind, ListedPage, ListingToken, Merged, MultipartState,
    NewInode, NewKind, OpId, PartRecord, PendingCounts, RenameProgress, ShareRow, Stamp, Standing,
    SyncJob, WriteCommit,
};
pub use unsent::FILE_BESIDES_BYTES;

use dirty_log::{DirtyLog, Told};
use epoch::Epoch;
use held::Held;
use latest::Latest;
use pragmas::Synchronous;
use reader::Readers;
use rows::{Rows, Touched};
use sums::SumMemory;
use unsent::Unsent;
use writer::{Committer, Durable, Operation, Run, Txn, Writer, WriterState};

use crate::blocking;

/// The catalog's file below the cache directory.
pub const CATALOG_FILE: &str = "catalog.db";

/// Handle to the catalog. Cloning gives another handle; dropping the last one without
/// [`Catalog::close`] is what a crash looks like.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    sender: Mutex<Option<mpsc::Sender<Operation>>>,
    writer: Arc<Writer>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    readers: Arc<Readers>,
    rows: Arc<Rows>,
    sums: Arc<SumMemory>,
    held: Held,
    latest: Latest,
    journal: watch::Sender<u64>,
    damage: watch::Sender<Option<String>>,
    progress: AtomicU64,
    unsent: Unsent,
    was_clean: bool,
    rebuilt: Option<Rebuilt>,
    cache: PathBuf,
    generation: u64,
    done: done::Done,
    /// Held so that no second gateway opens the same cache.
    _lock: File,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("was_clean", &self.inner.was_clean).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens (or makes) the catalog in the directory `cache` and starts its writer. Blocks: call it
    /// before serving. The clean-shutdown mark is taken away, durably. A catalog that is gone or damaged is
    /// made anew of the dirty log, if there is one ([`Catalog::rebuilt`]).
    ///
    /// # Errors
    /// [`CatalogError::SqliteTooOld`], [`CatalogError::NewerSchema`]; [`CatalogError::Sqlite`] when
    /// the file cannot be opened, [`CatalogError::Commit`] when another gateway has it open.
    pub fn open(cache: &Path) -> Result<Self, CatalogError> {
        pragmas::check_version(rusqlite::version_number(), rusqlite::version())?;
        let lock = lock_directory(cache)?;
        let path = cache.join(CATALOG_FILE);
        let mut told = Told::read(cache)
            .map_err(|error| CatalogError::Commit(format!("{}: {error}", cache.display())))?;
        let (connection, rebuilt) = rebuild::open(cache, told.as_mut())?;
        let clean: u64 =
            connection
                .query_row("SELECT value FROM meta WHERE name = 'clean'", [], |row| row.get(0))?;
        if let Some(told) = told.as_ref().filter(|_| clean != 1) {
            // What listings found since then may be lost with the database's log; clients have its handles.
            connection.execute(
                "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'inode'",
                [told.inos],
            )?;
        }
        connection.execute("UPDATE meta SET value = 0 WHERE name = 'clean'", [])?;
        let generation = connection.query_row(
            "SELECT value FROM meta WHERE name = 'generation'",
            [],
            |row| row.get(0),
        )?;
        let done = done::load(&connection)?;
        let log = DirtyLog::open(cache, &connection, told.as_ref())?;
        drop(told);
        let epoch = Epoch::begin(&connection)?;
        let touched = Touched::watch(&connection)?;
        let unsent = Unsent::keep(&connection)?;
        let rows = Arc::new(Rows::default());
        let sums = Arc::new(SumMemory::default());
        let journal = watch::Sender::new(0);
        let (held, latest) = (Held::load(&connection)?, Latest::default());
        let (sender, mut operations) = mpsc::channel(writer::QUEUE_OPERATIONS_MAX);
        let writer = Arc::new(Writer::new(Committer {
            connection,
            touched,
            rows: Arc::clone(&rows),
            sums: Arc::clone(&sums),
            unsent: unsent.clone(),
            synced: Synchronous::default(),
            journal: journal.clone(),
            state: WriterState {
                noted: log.noted(),
                held: held.clone(),
                latest: latest.clone(),
                epoch,
                ..WriterState::default()
            },
            log,
        }));
        let writes = Arc::clone(&writer);
        let no_thread =
            |error: io::Error| CatalogError::Commit(format!("cannot start its thread: {error}"));
        let timer = runtime::Builder::new_current_thread().enable_time().build();
        let timer = timer.map_err(no_thread)?;
        let thread = thread::Builder::new()
            .name("catalog".to_owned())
            .spawn(move || writes.run(&mut operations, &timer))
            .map_err(no_thread)?;
        Ok(Self {
            inner: Arc::new(Inner {
                sender: Mutex::new(Some(sender)),
                writer,
                thread: Mutex::new(Some(thread)),
                readers: Arc::new(Readers::new(path)),
                rows,
                sums,
                held,
                latest,
                journal,
                damage: watch::channel(None).0,
                progress: AtomicU64::new(0),
                unsent,
                was_clean: clean == 1,
                rebuilt,
                cache: cache.to_owned(),
                generation,
                done,
                _lock: lock,
            }),
        })
    }

    /// Whether the gateway that had this catalog before closed it in order.
    pub fn was_clean(&self) -> bool {
        self.inner.was_clean
    }

    /// What became of the catalog, if it was gone or damaged and had to be made anew.
    pub fn rebuilt(&self) -> Option<&Rebuilt> {
        self.inner.rebuilt.as_ref()
    }

    /// A number that no other catalog has, made with this one: part of file handles, so that a handle
    /// from before a lost cache disk cannot mean another file (I9).
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Changes whenever the movers may have something to do ([`Catalog::claim_jobs`]).
    pub fn journal_changed(&self) -> watch::Receiver<u64> {
        self.inner.journal.subscribe()
    }

    /// Ends in order: marks the catalog clean, folds the WAL into the database, ends the writer.
    /// Later calls answer [`CatalogError::Closed`].
    ///
    /// # Errors
    /// The mark could not be made durable: the next start checks the whole catalog.
    pub async fn close(&self) -> Result<(), CatalogError> {
        let marked = self
            .write(|txn| {
                txn.db.execute("UPDATE meta SET value = 1 WHERE name = 'clean'", [])?;
                Ok(())
            })
            .await;
        self.inner.readers.close();
        self.inner.rows.doubt_all();
        self.inner.sums.forget(None::<std::iter::Empty<_>>);
        self.inner.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Closing the last connection checkpoints (sqlite.org/wal.html).
            tokio::task::spawn_blocking(move || thread.join())
                .await
                .map_err(|_| CatalogError::Closed)?
                .map_err(|_| CatalogError::Commit("the writer thread panicked".to_owned()))?;
        }
        marked
    }

    /// Runs one transition and waits for its commit: it is durable then.
    async fn write<T, F>(&self, transition: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<T, CatalogError> + Send + 'static,
    {
        self.commit(Durable::Now, transition).await
    }

    /// The same for a transition that S3 would have made again after a power cut: everybody sees it, and it is
    /// durable with the next one that is, or before long. Nobody may be told that it is, and nothing that only
    /// it permits may be done outside the catalog without another one that is durable (ADR 34).
    async fn write_soon<T, F>(&self, transition: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<T, CatalogError> + Send + 'static,
    {
        self.commit(Durable::Soon, transition).await
    }

    /// Returns when everything that was committed so far is durable.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn settled(&self) -> Result<(), CatalogError> {
        self.write(|_| Ok(())).await
    }

    async fn commit<T, F>(&self, durable: Durable, transition: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<T, CatalogError> + Send + 'static,
    {
        let sender = self.inner.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sender = sender.ok_or(CatalogError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let run: Run = Box::new(move |txn| {
            let result = writer::in_savepoint(txn, transition);
            Box::new(move |committed| {
                let outcome = match committed {
                    Ok(()) => result,
                    Err(message) => Err(CatalogError::Commit(message)),
                };
                // A caller that has gone away is not told; the change stands all the same.
                drop(reply.send(outcome));
            })
        });
        let operation = Operation { durable, run };
        // What is not synced at once the writer's thread has to see to.
        let left = if durable == Durable::Now && blocking::may_sync() {
            self.inner.writer.commit_here(operation)?
        } else {
            Some(operation)
        };
        if let Some(operation) = left {
            sender.send(operation).await.map_err(|_| CatalogError::Closed)?;
        }
        self.noted(answer.await.map_err(|_| CatalogError::Closed)?)
    }

    /// Runs one query on a snapshot that holds everything committed so far.
    async fn read<T, F>(&self, query: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, CatalogError> + Send + 'static,
    {
        self.noted(self.inner.readers.read(query).await)
    }

    /// Notes that the database is damaged, if that is what came of an operation.
    fn noted<T>(&self, done: Result<T, CatalogError>) -> Result<T, CatalogError> {
        if let Err(error) = &done
            && error.is_damaged_file()
        {
            self.inner.damage.send_if_modified(|known| {
                let is_news = known.is_none();
                known.get_or_insert_with(|| error.to_string());
                is_news
            });
        }
        done
    }

    /// Counts what S3 has taken since the start, objects and parts: while it grows, uploads get through.
    pub fn progress(&self) -> u64 {
        self.inner.progress.load(Ordering::Relaxed)
    }

    fn note_progress(&self) {
        self.inner.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves when SQLite has met a page of the database that is not what it wrote, with its words. What
    /// is read from then on may be wrong: stop serving.
    pub async fn damaged(&self) -> String {
        let mut damage = self.inner.damage.subscribe();
        let words = damage.wait_for(Option::is_some).await.ok().and_then(|words| words.clone());
        match words {
            Some(words) => words,
            // The sender is in `self`: it cannot have gone.
            None => std::future::pending().await,
        }
    }
}

/// Keeps a second gateway away from the same cache for as long as the file is open.
fn lock_directory(cache: &Path) -> Result<File, CatalogError> {
    let path = cache.join("gateway.lock");
    let refuse = |why: String| CatalogError::Commit(format!("{}: {why}", path.display()));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| refuse(error.to_string()))?;
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => {
            refuse("another gateway uses this cache directory; stop it first".to_owned())
        }
        std::fs::TryLockError::Error(error) => refuse(error.to_string()),
    })?;
    Ok(file)
}

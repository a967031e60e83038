//! Lists on access, on command, and before a directory is renamed.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use crate::{
    cache::CacheStore,
    catalog::{Catalog, CatalogError, ChangedObject, Inode, ListedEntry, ListedKind, ListedPage},
    clock::{Clock, Timestamp},
    ids::{FileKind, Ino},
    object::ObjectKey,
    share::{
        OddKeys, Share,
        keymap::{self, Listed},
        metadata,
    },
    store::{ListPage, ObjectMeta, StoreError, StoreErrorKind},
};

/// Listings begun anew because the directory changed its place or the listing took too long.
const ATTEMPTS: u32 = 3;
/// Directories of a subtree taken from the catalog at a time.
const SUBTREE_STEP: usize = 64;

/// Longest target of a symlink in bytes (Linux PATH_MAX without its NUL).
const TARGET_BYTES_MAX: u64 = 4095;

/// Why a directory could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog failed; [`CatalogError::Gone`] when the directory is no more.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Keeps one share's listings fresh.
#[derive(Debug)]
pub struct Refresher {
    share: Arc<Share>,
    catalog: Catalog,
    cache: CacheStore,
    clock: Arc<dyn Clock>,
    /// One listing per directory at a time; an entry lives while somebody lists or waits.
    busy: Mutex<HashMap<Ino, Arc<AsyncMutex<()>>>>,
}

/// A place in the queue for one directory's listing; gives the table entry back when the last in the
/// queue is gone, cancelled waits included.
#[derive(Debug)]
struct Turn<'r> {
    busy: &'r Mutex<HashMap<Ino, Arc<AsyncMutex<()>>>>,
    dir: Ino,
    lock: Arc<AsyncMutex<()>>,
}

impl<'r> Turn<'r> {
    fn of(busy: &'r Mutex<HashMap<Ino, Arc<AsyncMutex<()>>>>, dir: Ino) -> Self {
        let mut table = busy.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Arc::clone(table.entry(dir).or_default());
        Self { busy, dir, lock }
    }

    async fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut table = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // The table's and this one.
        if Arc::strong_count(&self.lock) == 2 {
            table.remove(&self.dir);
        }
    }
}

impl Refresher {
    /// A refresher of `share`'s tree.
    pub fn new(
        share: Arc<Share>,
        catalog: Catalog,
        cache: CacheStore,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { share, catalog, cache, clock, busy: Mutex::default() }
    }

    /// Whether [`Refresher::on_access`] would do nothing. Usually known without asking anybody.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn is_fresh(&self, dir: Ino) -> Result<bool, CatalogError> {
        Ok(!self.wants_listing(self.catalog.inode(dir).await?.as_ref()))
    }

    fn wants_listing(&self, row: &Inode) -> bool {
        row.kind == FileKind::Directory && self.is_stale(row.listed_at)
    }

    /// Lists `dir` if it never was, or if its listing is older than the share's stale time. A
    /// listing that fails leaves the old one good.
    ///
    /// # Errors
    /// [`RefreshError`], of the store only when the directory has never been listed.
    pub async fn on_access(&self, dir: Ino) -> Result<(), RefreshError> {
        let row = self.catalog.inode(dir).await?;
        if !self.wants_listing(&row) {
            return Ok(());
        }
        if row.listed_at.is_some() && self.share.health.blocked_until(self.clock.now()).is_some() {
            return Ok(());
        }
        match self.list_once(dir, row.listed_at).await {
            Err(RefreshError::Store(error)) if row.listed_at.is_some() => {
                tracing::debug!(%error, "the old listing stays good");
                Ok(())
            }
            done => done,
        }
    }

    /// Lists `dir` now. A listing that is under way does not count: it may have begun before what the
    /// caller wants to see.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn now(&self, dir: Ino) -> Result<(), RefreshError> {
        let turn = Turn::of(&self.busy, dir);
        let _held = turn.lock().await;
        self.list(dir).await
    }

    /// Lists every directory at or below `dir` that never was, so that all of it is known.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn whole_subtree(&self, dir: Ino) -> Result<(), RefreshError> {
        loop {
            let unlisted = self.catalog.unlisted_below(dir, SUBTREE_STEP).await?;
            if unlisted.is_empty() {
                return Ok(());
            }
            for each in unlisted {
                match self.list_once(each, None).await {
                    Err(RefreshError::Catalog(CatalogError::Gone(_))) | Ok(()) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Asks S3 for the attributes of an entry that has only defaults from a listing.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn load_attr(&self, ino: Ino) -> Result<(), RefreshError> {
        let inode = self.catalog.inode(ino).await?;
        if !inode.needs_head {
            return Ok(());
        }
        let key = match &inode.object_key {
            Some(key) => Some(key.clone()),
            None => ObjectKey::new(self.catalog.key(ino).await?),
        };
        let Some(key) = key else {
            self.catalog.apply_head(ino, None).await?;
            return Ok(());
        };
        let head = match self.share.store.head(&key).await {
            Ok(head) => head,
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Ok(self.no_object(&inode).await?);
            }
            Err(error) => {
                self.share.health.failed(&error, self.clock.now());
                return Err(error.into());
            }
        };
        self.share.health.answered();
        match self.take_kind(&inode, &key, &head).await {
            // Told below, where the object's news are taken.
            Err(RefreshError::Catalog(CatalogError::Changed)) => {}
            Err(RefreshError::Store(error)) if error.kind == StoreErrorKind::Changed => {}
            taken => taken?,
        }
        Ok(self.took(&inode, head).await?)
    }

    /// Takes an entry for the symlink that its object is, or for a file, if it was a symlink before.
    async fn take_kind(
        &self,
        inode: &Inode,
        key: &ObjectKey,
        head: &ObjectMeta,
    ) -> Result<(), RefreshError> {
        let is_symlink =
            metadata::is_symlink(&head.user) && (1..=TARGET_BYTES_MAX).contains(&head.size);
        let target = match (inode.kind, is_symlink) {
            (FileKind::Directory, _) | (FileKind::File, false) => return Ok(()),
            (FileKind::Symlink, false) => None,
            (FileKind::File | FileKind::Symlink, true) => {
                let target = self.share.store.get(key, 0..head.size, &head.etag).await?;
                // What cannot be a path is shown as what it is, bytes.
                Some(target.to_vec()).filter(|target| !target.contains(&0))
            }
        };
        Ok(self.catalog.take_link(inode.ino, &head.etag, target).await?)
    }

    async fn took(&self, inode: &Inode, head: ObjectMeta) -> Result<(), CatalogError> {
        let attr =
            metadata::to_attr(&head.user, inode.kind, self.share.defaults(), head.last_modified);
        match self.catalog.apply_head(inode.ino, Some((head.etag.clone(), attr))).await {
            Err(CatalogError::Changed) => {
                if let Some(was) = &inode.etag {
                    let is = ChangedObject {
                        size: head.size,
                        etag: head.etag,
                        last_modified: head.last_modified,
                        now: self.clock.now(),
                    };
                    self.catalog.mark_changed(inode.ino, was, is).await?;
                }
                Ok(())
            }
            done => done.map(drop),
        }
    }

    async fn no_object(&self, inode: &Inode) -> Result<(), CatalogError> {
        match (&inode.etag, inode.kind) {
            (Some(was), FileKind::File | FileKind::Symlink) => {
                self.catalog.mark_gone(inode.ino, was).await?;
            }
            (_, FileKind::Directory) => {
                self.catalog.apply_head(inode.ino, None).await?;
            }
            // Nothing is known of an object: there is nothing to take back.
            (None, FileKind::File | FileKind::Symlink) => {}
        }
        Ok(())
    }

    fn is_stale(&self, listed_at: Option<Timestamp>) -> bool {
        let Some(listed_at) = listed_at else { return true };
        let seconds = u64::from(self.share.settings.cache_stale_timeout_seconds);
        let now = self.clock.now();
        // A clock that was set back must not keep a listing for ever.
        seconds > 0 && (now >= listed_at.plus_millis(seconds * 1000) || now < listed_at)
    }

    /// Lists `dir`, or waits for the listing that is under way, unless one ended after `seen`.
    async fn list_once(&self, dir: Ino, seen: Option<Timestamp>) -> Result<(), RefreshError> {
        let turn = Turn::of(&self.busy, dir);
        let _held = turn.lock().await;
        if self.catalog.inode(dir).await?.listed_at != seen {
            return Ok(());
        }
        self.list(dir).await
    }

    async fn list(&self, dir: Ino) -> Result<(), RefreshError> {
        let mut attempt = 1;
        loop {
            match self.list_through(dir).await {
                Err(RefreshError::Catalog(
                    CatalogError::ListingExpired | CatalogError::Changed,
                )) if attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    /// One listing from beginning to end.
    async fn list_through(&self, dir: Ino) -> Result<(), RefreshError> {
        let mut token = self.catalog.begin_listing(dir).await?;
        let prefix = token.prefix.clone();
        let mut odd = OddKeys::default();
        let mut next: Option<String> = None;
        loop {
            let mut page = match self.share.store.list(&prefix, next.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    self.share.health.failed(&error, self.clock.now());
                    return Err(error.into());
                }
            };
            self.share.health.answered();
            next = page.next.take();
            let page = self.shown(&prefix, page, &mut odd);
            let merged = self.catalog.merge_listing_page(&mut token, page).await?;
            for ino in merged.conflicts {
                tracing::info!(
                    ino = ino.0,
                    "the object of inode {} changed while the file is dirty here",
                    ino.0
                );
            }
            if next.is_none() {
                break;
            }
        }
        for gone in self.catalog.finish_listing(token, self.clock.now()).await? {
            if let Err(error) = self.cache.remove(gone).await {
                // The next start removes cache files that belong to nobody.
                tracing::warn!("a cache file of a removed object stays behind: {error}");
            }
        }
        self.share.health.met_unrepresentable(&prefix, odd);
        Ok(())
    }

    /// What of a page can be shown; the rest goes to `odd`.
    fn shown(&self, prefix: &str, page: ListPage, odd: &mut OddKeys) -> ListedPage {
        let mut shown = ListedPage {
            entries: Vec::with_capacity(page.objects.len() + page.prefixes.len()),
            marker: None,
            defaults: self.share.defaults(),
            now: self.clock.now(),
        };
        for common in page.prefixes {
            match keymap::listed_prefix(prefix, &common) {
                Listed::Name(name) => shown
                    .entries
                    .push(ListedEntry { name: name.to_owned(), kind: ListedKind::Directory }),
                Listed::Marker | Listed::Unrepresentable => odd.met(common),
            }
        }
        for object in page.objects {
            match keymap::listed_object(prefix, &object.key) {
                Listed::Marker => shown.marker = Some(object.etag),
                Listed::Name(name) => {
                    let kind = ListedKind::File {
                        size: object.size,
                        etag: object.etag,
                        last_modified: object.last_modified,
                    };
                    shown.entries.push(ListedEntry { name: name.to_owned(), kind });
                }
                Listed::Unrepresentable => odd.met(object.key),
            }
        }
        shown
    }
}

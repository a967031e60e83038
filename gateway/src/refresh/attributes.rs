//! Attributes of one object, asked for one by one: HEAD, and GET of a symbolic link's target.
use super::{RefreshError, Refresher, heads::Asked};
use crate::{
    catalog::{CatalogError, ChangedObject, Inode},
    ids::{FileKind, Ino},
    object::ObjectKey,
    share::{Form, Right},
    store::{ObjectMeta, StoreError, StoreErrorKind},
};

impl Refresher {
    /// Asks S3 for the attributes of an entry that has only defaults from a listing, unless somebody
    /// does: then waits for the same answer.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn load_attr(&self, ino: Ino) -> Result<(), RefreshError> {
        let inode = self.inner.catalog.inode(ino).await?;
        if !inode.needs_head {
            return Ok(());
        }
        let (waiting, lead) = self.inner.heads.join(Asked { ino, etag: inode.etag.clone() });
        if let Some(lead) = lead {
            let (refresher, stop) = (self.clone(), self.inner.tasks.stopping().clone());
            self.inner.tasks.spawn("ask for attributes", async move {
                tokio::select! {
                    outcome = refresher.ask(ino) => lead.end(outcome),
                    // Those who wait are told that it was given up.
                    () = stop.cancelled() => {}
                }
            });
        }
        waiting.ended().await
    }

    async fn ask(&self, ino: Ino) -> Result<(), RefreshError> {
        let inode = self.inner.catalog.inode(ino).await?;
        if !inode.needs_head {
            return Ok(());
        }
        let key = match &inode.object_key {
            Some(key) => Some(key.clone()),
            None => ObjectKey::new(self.inner.catalog.key(ino).await?),
        };
        let Some(key) = key else {
            self.inner.catalog.apply_head(ino, None).await?;
            return Ok(());
        };
        let head = match self.inner.share.store.head(&key).await {
            Ok(head) => head,
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return self.no_object(&inode, &key, error).await;
            }
            Err(error) => {
                self.inner.share.health.failed(&error, self.inner.clock.now());
                return Err(error.into());
            }
        };
        self.told(&inode, &key, head).await
    }

    /// S3 has told what the object is.
    async fn told(
        &self,
        inode: &Inode,
        key: &ObjectKey,
        head: ObjectMeta,
    ) -> Result<(), RefreshError> {
        self.inner.share.health.answered(Right::Read);
        match self.take_kind(inode, key, &head).await {
            // Told below, where the object's news are taken.
            Err(RefreshError::Catalog(error)) if matches!(*error, CatalogError::Changed) => {}
            Err(RefreshError::Store(error)) if error.kind == StoreErrorKind::Changed => {}
            taken => taken?,
        }
        Ok(self.took(inode, head).await?)
    }

    /// Takes an entry for the symlink that its object is, or for a file, if it was a symlink before.
    async fn take_kind(
        &self,
        inode: &Inode,
        key: &ObjectKey,
        head: &ObjectMeta,
    ) -> Result<(), RefreshError> {
        let target = match self.inner.share.form_of(inode.kind, key, head).await? {
            Form::AsKnown => return Ok(()),
            Form::File => None,
            Form::Link(target) => Some(target),
        };
        Ok(self.inner.catalog.take_link(inode.ino, &head.etag, target).await?)
    }

    async fn took(&self, inode: &Inode, head: ObjectMeta) -> Result<(), CatalogError> {
        let attr = self.inner.share.attr_of(&head, inode.kind);
        match self.inner.catalog.apply_head(inode.ino, Some((head.stored(), attr))).await {
            Err(CatalogError::Changed) => {
                let is = ChangedObject {
                    size: head.size,
                    etag: head.etag,
                    last_modified: head.last_modified,
                    now: self.inner.clock.now(),
                };
                self.inner.catalog.mark_changed(inode, is).await?;
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// HEAD has answered 404, which has no words: it is the same for an object that is gone, a bucket that is
    /// gone, and a proxy that knows neither. Before an entry is taken away a listing must agree (I13).
    async fn no_object(
        &self,
        inode: &Inode,
        key: &ObjectKey,
        refusal: StoreError,
    ) -> Result<(), RefreshError> {
        // Of a directory that deeper keys imply no object was known: nothing is taken back.
        let was_known = inode.etag.is_some();
        if was_known && self.inner.shows(key).await? {
            match (inode.kind, self.inner.share.store.head(key).await) {
                // Somebody on the way did not know it.
                (_, Ok(head)) => return self.told(inode, key, head).await,
                // There are stores that list what they do not know; a directory can do without attributes of its own.
                (FileKind::Directory, Err(again)) if again.kind == StoreErrorKind::NotFound => {}
                (_, Err(_)) => {
                    return Err(refusal.belied_by_a_listing(StoreErrorKind::Invalid).into());
                }
            }
        }
        match (&inode.etag, inode.kind) {
            (Some(_), FileKind::File | FileKind::Symlink) => {
                self.inner.catalog.mark_gone(inode, self.inner.clock.now()).await?;
            }
            (_, FileKind::Directory) => {
                self.inner.catalog.apply_head(inode.ino, None).await?;
            }
            // Nothing is known of an object: there is nothing to take back.
            (None, FileKind::File | FileKind::Symlink) => {}
        }
        Ok(())
    }
}

//! The share as its clients have it.
use std::sync::Arc;

use gateway::{
    catalog::ShareRow,
    clock::Clock,
    upload::Bursts,
    vfs::{Movers, ShareMode, Verifier, Vfs, WriteBack},
};

use super::{BUCKET, World};

impl World {
    /// The share as its clients see it; what they change may be uploaded at once.
    pub(crate) fn mount(&self) -> Vfs {
        self.mount_with_quiet_time(0)
    }

    /// The same; what they change is uploaded when it has been left alone for so long.
    pub(crate) fn mount_with_quiet_time(&self, millis: u64) -> Vfs {
        self.mount_by(self.write_back(millis))
    }

    /// The same through what others write through, too.
    pub(crate) fn mount_by(&self, write_back: Arc<WriteBack>) -> Vfs {
        let row = ShareRow {
            id: self.share.id,
            name: "share".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: "p/".to_owned(),
            root: self.share.root,
        };
        let movers = Movers::new(self.fetcher.clone(), self.refresher.clone());
        Vfs::new(&row, write_back, Arc::new(movers), ShareMode::ReadWrite)
    }

    /// What a mount writes through, with this quiet time.
    pub(crate) fn write_back(&self, millis: u64) -> Arc<WriteBack> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let verifier = Verifier::random().unwrap();
        let (catalog, cache) = (self.catalog.clone(), self.cache.clone());
        Arc::new(WriteBack::new(
            catalog,
            cache,
            self.locks.clone(),
            clock,
            verifier,
            self.events.clone(),
            millis,
        ))
    }

    /// Has what clients of mounts of `write_back` have written committed where a file has its turn.
    pub(crate) fn commit_by(&self, write_back: &Arc<WriteBack>) {
        self.uploader.commit_by(Arc::clone(write_back) as Arc<dyn Bursts>);
    }
}

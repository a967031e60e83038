//! The checksums that each upload in parts was begun with. A server may refuse, at the end, parts that
//! were not sent as the upload was begun; and what bodies carry changes when the store has been asked
//! what it can do.
//!
//! Of an upload that an earlier process began, S3 is asked. Must not know: the journal.
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_sdk_s3::types::ChecksumAlgorithm;

use super::{Checksums, S3Bucket};
use crate::{
    object::ObjectKey,
    store::{
        StoreError, StoreErrorKind, StoreOp,
        s3_error::{self, At},
    },
};

/// Uploads that are remembered; of one that was begun before them, S3 is asked.
const UPLOADS_MAX: usize = 4096;

/// What is known of uploads. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Begun(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    of: HashMap<String, Checksums>,
    /// The ids, the oldest first; some may have ended.
    order: VecDeque<String>,
}

impl Begun {
    /// Notes how an upload was begun.
    pub(super) fn note(&self, upload_id: &str, checksums: Checksums) {
        let mut table = self.lock();
        if table.of.insert(upload_id.to_owned(), checksums).is_some() {
            return;
        }
        table.order.push_back(upload_id.to_owned());
        if table.order.len() > UPLOADS_MAX
            && let Some(oldest) = table.order.pop_front()
        {
            table.of.remove(&oldest);
        }
    }

    /// The upload has ended.
    pub(super) fn forget(&self, upload_id: &str) {
        self.lock().of.remove(upload_id);
    }

    fn get(&self, upload_id: &str) -> Option<Checksums> {
        self.lock().of.get(upload_id).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl S3Bucket {
    /// The checksums that the parts of an upload are to carry: those that it was begun with. A store that
    /// does not tell them gets what others get (ListParts, `x-amz-checksum-algorithm`).
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] where the upload is no more; what S3 refuses for a passing reason.
    pub(super) async fn begun_with(
        &self,
        key: &ObjectKey,
        upload_id: &str,
    ) -> Result<Checksums, StoreError> {
        if let Some(checksums) = self.begun.get(upload_id) {
            return Ok(checksums);
        }
        let list = self
            .client
            .list_parts()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .max_parts(1);
        let listed = async {
            let at = At::key(StoreOp::ListParts, key);
            list.send().await.map_err(|e| s3_error::from_sdk(at, e))
        };
        let checksums = match self.meter.counted(StoreOp::ListParts, listed).await {
            Ok(parts) if parts.checksum_algorithm() == Some(&ChecksumAlgorithm::Crc64Nvme) => {
                Checksums::Crc64Nvme
            }
            Ok(_) => Checksums::PayloadSignature,
            Err(error)
                if matches!(error.kind, StoreErrorKind::Invalid | StoreErrorKind::Denied) =>
            {
                tracing::debug!(%error, "the store does not tell how an upload was begun");
                self.checksums()
            }
            Err(error) => return Err(error),
        };
        self.begun.note(upload_id, checksums);
        Ok(checksums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_uploads_are_remembered_the_oldest_goes_first() {
        let begun = Begun::default();
        for number in 0..=UPLOADS_MAX {
            begun.note(&number.to_string(), Checksums::Crc64Nvme);
        }
        assert_eq!((begun.get("0"), begun.get("1")), (None, Some(Checksums::Crc64Nvme)));
        begun.forget("1");
        assert_eq!(begun.get("1"), None);
        assert_eq!(begun.lock().order.len(), UPLOADS_MAX);
    }
}

//! COMMIT.
use super::{Change, FsError, Ino, Vfs, WriteVerifier};

impl Vfs {
    pub(super) async fn do_commit(&self, ino: Ino) -> Result<(Change, WriteVerifier), FsError> {
        let _held = self.shared.locks.shared(ino).await;
        let row = self.row(ino).await?;
        Self::check_file(&row)?;
        let before = self.wcc(&row);
        self.shared.commit(ino).await?;
        let change = self.change(before, self.row(ino).await?.as_ref());
        // After the commit: if writes were lost until now, the client must see that.
        Ok((change, self.shared.verifier.get()))
    }
}

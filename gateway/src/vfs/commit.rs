//! COMMIT.
use super::{Change, FsError, Ino, Vfs, WriteVerifier};

impl Vfs {
    pub(super) async fn do_commit(&self, ino: Ino) -> Result<(Change, WriteVerifier), FsError> {
        let _held = self.shared.locks.shared(ino).await;
        Self::check_file(self.row(ino).await?.as_ref())?;
        self.shared.commit(ino).await?;
        // A commit changes nothing that is seen. What others have written meanwhile is not its change.
        let change = self.unchanged(ino).await?;
        // After the commit: if writes were lost until now, the client must see that.
        Ok((change, self.shared.verifier.get()))
    }
}

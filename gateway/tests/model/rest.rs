//! What must be the same when nothing is under way: after a start, when S3 has everything, and on another
//! gateway.
use gateway::vfs::{ShareFs, WriteVerifier};

use crate::{
    bucket,
    lockstep::Pair,
    walk::{self, Inos, root},
};

impl Pair {
    /// After a start: every stable byte is there; clients see the new verifier and send the others again.
    pub(crate) fn survived(&mut self) -> Result<(), String> {
        let verifier: WriteVerifier = self.fs().verifier();
        let paths: Vec<String> = self.tree.nodes.keys().cloned().collect();
        for path in paths {
            let Some(file) = self.tree.node(&path).file().cloned() else { continue };
            if file.unstable.is_empty() {
                continue;
            }
            if file.unstable.iter().any(|(_, _, given)| *given == verifier) {
                return Err("the verifier is the one of before the start".to_owned());
            }
            // Bytes that are not cached are S3's, which must tell them here.
            self.mend();
            let found = self.world.content(self.ino(&path));
            let found = found.map_err(|error| format!("{path:?}: {error:?}"))?;
            file.survives_as(&found).map_err(|why| format!("{path:?}: {why}"))?;
            let resent = self.tree.node_mut(&path).file_mut().unwrap();
            resent.bytes = found;
            resent.settled();
            for (at, bytes, _) in &file.unstable {
                self.write_bytes(&path, *at, bytes, false)?;
            }
            let last = self.world.run(self.fs().commit(&root(), self.ino(&path)));
            last.map_err(|error| format!("{path:?}: {error:?}"))?;
            self.tree.node_mut(&path).file_mut().unwrap().settled();
        }
        if self.is_faulty() {
            return Ok(());
        }
        walk::all(&self.world, &self.tree, Inos::Same)
    }

    /// Lets everything come to rest and compares tree and bucket with the model.
    pub(crate) fn quiesce(&mut self) -> Result<(), String> {
        self.mend();
        self.world.run(self.world.gateway().write_back.flush_all());
        self.world.drain()?;
        bucket::all(&self.world, &self.tree)?;
        for path in self.tree.nodes.iter().filter(|(_, n)| n.is_directory()).map(|(p, _)| p) {
            let listed = self.world.refresh(self.ino(path));
            listed.map_err(|error| format!("refreshing {path:?}: {error}"))?;
        }
        walk::all(&self.world, &self.tree, Inos::Same)?;
        self.world.evict();
        walk::all(&self.world, &self.tree, Inos::Same)?;
        bucket::all(&self.world, &self.tree)
    }

    /// A gateway with an empty disk shows the same tree of the same bucket.
    pub(crate) fn compare_elsewhere(mut self) -> Result<(), String> {
        self.world.lose_disk();
        walk::all(&self.world, &self.tree, Inos::Other)
    }
}

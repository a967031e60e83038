//! Everything below a directory that was never listed, before the directory is renamed or kept: in the
//! background, several directories at the same time, whoever waits for it and for how long.
//!
//! Bounded as a refresh by command is ([`super::walk`]).
use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};

use super::{
    RefreshError, Refresher,
    flight::Flight,
    walk::{Frame, next},
};
use crate::ids::Ino;

/// Directories listed at the same time below one that is asked for. Of the share's listings at the same
/// time they leave others their part.
const LISTINGS_MAX: usize = 8;
/// How long a caller waits who comes again: long enough for a tree that is nearly known, short against a
/// client's patience.
const SOON: Duration = Duration::from_secs(1);

impl Refresher {
    /// Lists every directory at or below `dir` that never was, so that all of it is known.
    ///
    /// # Errors
    /// [`RefreshError`]; the first that cannot be listed ends it.
    pub async fn whole_subtree(&self, dir: Ino) -> Result<(), RefreshError> {
        match self.subtree(dir).await? {
            Some(flight) => flight.ended().await.map(drop),
            None => Ok(()),
        }
    }

    /// The same, and answers within about a second whether it is done. It goes on in the background, and
    /// whoever asks again waits for the same.
    ///
    /// # Errors
    /// As [`Refresher::whole_subtree`], of what has ended by then.
    pub async fn whole_subtree_soon(&self, dir: Ino) -> Result<bool, RefreshError> {
        let Some(flight) = self.subtree(dir).await? else { return Ok(true) };
        match timeout(SOON, flight.ended()).await {
            Ok(ended) => ended.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// The listing of what is below `dir` that is under way, or a new one; `None` when all of it is known.
    async fn subtree(&self, dir: Ino) -> Result<Option<Flight>, RefreshError> {
        if self.inner.catalog.is_subtree_listed(dir).await? {
            return Ok(None);
        }
        let (flight, lead) = self.inner.subtrees.join(dir).ok_or(RefreshError::Busy)?;
        if let Some(lead) = lead {
            let (refresher, stop) = (self.clone(), self.inner.tasks.stopping().clone());
            self.inner.tasks.spawn("list everything below a directory", async move {
                tokio::select! {
                    outcome = refresher.list_unlisted(dir) => lead.end(outcome),
                    // Those who wait are told that it was given up.
                    () = stop.cancelled() => {}
                }
            });
        }
        Ok(Some(flight))
    }

    /// Answers how many directories it has listed.
    async fn list_unlisted(&self, dir: Ino) -> Result<u64, RefreshError> {
        let mut listed = 0;
        // Others may have been found meanwhile in what the walk had behind it.
        while !self.inner.catalog.is_subtree_listed(dir).await? {
            listed += self.walk_unlisted(dir).await?;
        }
        Ok(listed)
    }

    async fn walk_unlisted(&self, top: Ino) -> Result<u64, RefreshError> {
        let (mut frames, mut listings) = (Vec::new(), JoinSet::new());
        let mut listed = 0;
        self.enter(top, &mut frames, &mut listings).await?;
        loop {
            while listings.len() < LISTINGS_MAX {
                match next(&self.inner.catalog, &mut frames).await? {
                    Some(dir) => match self.enter(dir, &mut frames, &mut listings).await {
                        Err(error) if error.is_gone() => {}
                        entered => entered?,
                    },
                    None => break,
                }
            }
            let Some(ended) = listings.join_next().await else { return Ok(listed) };
            let (dir, outcome) = ended.map_err(|_| RefreshError::Interrupted)?;
            match outcome {
                Ok(_) => {
                    listed += 1;
                    frames.push(Frame::of(dir));
                }
                Err(error) if error.is_gone() && dir != top => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Has `dir` listed if it never was, or goes on to what is in it.
    async fn enter(
        &self,
        dir: Ino,
        frames: &mut Vec<Frame>,
        listings: &mut JoinSet<(Ino, Result<u64, RefreshError>)>,
    ) -> Result<(), RefreshError> {
        if self.inner.catalog.inode(dir).await?.listed_at.is_some() {
            frames.push(Frame::of(dir));
            return Ok(());
        }
        let flight = self.join(dir, None)?;
        listings.spawn(async move { (dir, flight.ended().await) });
        Ok(())
    }
}

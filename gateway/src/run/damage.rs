//! A catalog that is damaged: noted for the next start, and told after it.
use std::path::Path;

use gateway_api::status::HealthEventKind;

use super::RunError;
use crate::{
    catalog::{self, Catalog, CatalogError, Rebuilt},
    recovery::RecoveryError,
    share::Events,
};

/// The catalog in `cache` was found damaged while it was in use: what the gateway ends with. The next start
/// makes it anew.
pub(super) fn note(cache: &Path, words: String) -> RunError {
    match catalog::note_damage(cache, &words) {
        Ok(()) => RunError::CatalogDamaged(words),
        Err(error) => {
            tracing::error!("that the catalog is damaged cannot be noted: {error}");
            CatalogError::Corrupt(words).into()
        }
    }
}

/// The same of what recovery has met; once only: a catalog that was made anew and is damaged again needs
/// somebody to look at the disk.
pub(super) fn note_of_recovery(cache: &Path, catalog: &Catalog, error: RecoveryError) -> RunError {
    match error {
        RecoveryError::Catalog(error) if error.is_corruption() && catalog.rebuilt().is_none() => {
            note(cache, error.to_string())
        }
        error @ (RecoveryError::Catalog(_) | RecoveryError::Cache(_)) => error.into(),
    }
}

/// Says what became of a catalog that was made anew.
pub(super) fn tell(events: &Events, rebuilt: &Rebuilt) {
    let kind = HealthEventKind::CatalogRebuilt;
    let kept = match &rebuilt.aside {
        Some(aside) => format!("The old one is kept in {}.", aside.display()),
        None => "Nothing was left of the old one.".to_owned(),
    };
    events.add(
        kind,
        None,
        format!(
            "{}. It was made anew: {} files and directories ({} bytes) and {} deletions that wait for S3 are as \
             they were. All others are listed again when somebody looks, and are new to clients that have them \
             open. {kept}",
            rebuilt.why, rebuilt.waiting, rebuilt.bytes, rebuilt.deletions
        ),
    );
    for moved in &rebuilt.moves {
        let message = format!(
            "the rename of {} to {} was not done in the bucket when the catalog was lost: what had not moved \
             shows under its old name again; rename it once more",
            moved.from, moved.to
        );
        events.add(kind, moved.share.parse().ok(), message);
    }
}

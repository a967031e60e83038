//! What fails to get to S3, page by page, out of the journal.
use gateway_api::failing::{FailingMark, FailingObject, FailingPage, FailingRequest, FailingWork};

use crate::{
    admin::ControlError,
    catalog::{Catalog, CatalogError, Failing, OpId, Work},
    ids::ShareId,
};

/// Of one page: paths and keys of a few KiB each stay far below the longest answer that is read.
const PAGE_MAX: usize = 200;

/// The page that is asked for.
pub(super) async fn page(
    catalog: &Catalog,
    request: &FailingRequest,
) -> Result<FailingPage, ControlError> {
    let failed = |error: CatalogError| ControlError::Failed(error.to_string());
    // Also those that the settings do not name any more: what they lack waits all the same.
    let shares = catalog.shares().await.map_err(failed)?;
    let share = match &request.share {
        Some(name) => {
            let row = shares.iter().find(|row| row.name == name.as_str());
            let row =
                row.ok_or_else(|| ControlError::NotFound(format!("no share is called {name}")))?;
            Some(row.id)
        }
        None => None,
    };
    let after = request.after.map(|mark| (ShareId(mark.share), OpId(mark.operation)));
    let found = catalog.failing(share, after, PAGE_MAX).await.map_err(failed)?;
    let next = found.last().filter(|_| found.len() == PAGE_MAX);
    let next = next.map(|last| FailingMark { share: last.share.0, operation: last.op.0 });
    let named = found.into_iter().filter_map(|failing| {
        let row = shares.iter().find(|row| row.id == failing.share)?;
        Some(shown(failing, row.name.parse().ok()?))
    });
    Ok(FailingPage { failing: named.collect(), next })
}

fn shown(failing: Failing, share: gateway_api::ShareName) -> FailingObject {
    FailingObject {
        share,
        what: match failing.work {
            Work::Upload => FailingWork::Upload,
            Work::Deletion => FailingWork::Deletion,
            Work::Move => FailingWork::Move,
        },
        path: failing.path,
        key: failing.key,
        attempts: failing.attempts,
        since_unix_seconds: failing.since_seconds,
        next_try_unix_seconds: failing.next.map(|next| next.seconds()),
        error: failing.error,
    }
}

//! Shares that the settings do not name any more, while S3 does not have everything of them. What they have stays
//! on the cache disk and waits: for a share of the same name, bucket and prefix.
use gateway_api::{
    ShareName, ShareSettings,
    status::{HealthEventKind, StrandedShare},
};

use super::status::{Pending, to_upload};
use crate::{catalog::Catalog, clock::Timestamp, share::Events};

/// Those of which S3 lacks anything, if `named` are the shares of the settings.
///
/// # Errors
/// The catalog does not tell, for this reason.
pub(super) async fn of(
    catalog: &Catalog,
    named: &[ShareSettings],
    pending: &Pending,
    now: Timestamp,
) -> Result<Vec<StrandedShare>, String> {
    if let Pending::Unknown(why) = pending {
        return Err(why.clone());
    }
    let is_named = |name: &str| named.iter().any(|share| share.name.as_str() == name);
    let rows = catalog.shares().await.map_err(|error| error.to_string())?.into_iter();
    let left = rows.filter(|row| !is_named(&row.name)).filter_map(|row| {
        let upload = pending.of_share(row.id, now, 0);
        // What was a share's once can be parsed.
        let (name, bucket) = (row.name.parse().ok()?, row.bucket.parse().ok()?);
        let share = StrandedShare { name, bucket, prefix: row.prefix.parse().ok()?, upload };
        (!share.upload.is_idle()).then_some(share)
    });
    Ok(left.collect())
}

/// What the operator is to know of one.
pub(super) fn words(share: &StrandedShare) -> String {
    let StrandedShare { name, bucket, prefix, upload } = share;
    format!(
        "share /{name} is not in the settings any more, and S3 does not have {} of it: name it again \
         with bucket {bucket} and prefix {:?}, and it is uploaded; until then it waits on the cache disk",
        to_upload(upload),
        prefix.as_str()
    )
}

/// Why shares are not let go.
pub(super) fn refusal(shares: &[StrandedShare]) -> String {
    let each = shares.iter().map(|share| {
        let StrandedShare { name, bucket, prefix, upload } = share;
        let left = to_upload(upload);
        format!(
            "share /{name} has {left} that S3 does not have (bucket {bucket}, prefix {:?})",
            prefix.as_str()
        )
    });
    format!(
        "{}: wait until it has, or mend what keeps it. To remove or rename a share all the same, delete it on the \
         console, or force it (gateway settings --replace FILE --force-delete): what S3 does not have waits on the \
         cache disk until a share of the same name, bucket and prefix is set again",
        each.collect::<Vec<_>>().join("; ")
    )
}

/// Tells of each, once, and again when it comes again.
pub(super) fn tell(events: &Events, named: &[ShareSettings], stranded: &[StrandedShare]) {
    let kind = HealthEventKind::ShareStranded;
    named.iter().for_each(|share| events.over(Some(&share.name), &[kind]));
    for share in stranded {
        let name: ShareName = share.name.clone();
        events.add_latest(kind, &name, words(share));
    }
}

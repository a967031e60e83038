//! The cache disks as the admin API sees them: how they stand, releasing, keeping, forgetting.
use gateway_api::{
    ByteSize,
    disks::{DiskName, DiskState, DiskStatus, DisksStatus, ForgetReport, ForgetRequest, LostFile},
    status::HealthEventKind,
};

use super::{disk_counts::Counts, disks::LeftOut, shares::Parts};
use crate::{
    admin::ControlError,
    cache::{CacheDisk, DiskSpace},
    catalog::{Catalog, CatalogError, DiskCounts, DiskRow, Inode},
    ids::{DiskId, Ino},
    share::Events,
    vfs::WriteBack,
};

/// Files taken at a time.
const PAGE_FILES: usize = 500;
/// Lost files that are named in an answer.
const LOST_NAMED_MAX: usize = 1000;
/// Files that are named in a refusal.
const REFUSED_NAMED_MAX: usize = 20;

fn failed(error: &CatalogError) -> ControlError {
    ControlError::Failed(error.to_string())
}

/// All disks.
pub(super) async fn status(parts: &Parts) -> Result<DisksStatus, ControlError> {
    let counts = parts.disk_counts.counts(&parts.catalog, &parts.cache).await;
    let counts = counts.map_err(|error| failed(&error))?;
    let rows = parts.catalog.disks().await.map_err(|error| failed(&error))?;
    let mut new: Vec<&DiskName> = parts.disks_left_out.keys().collect();
    new.retain(|name| !rows.iter().any(|row| row.name == name.as_str()));
    let mut disks = Vec::with_capacity(rows.len() + 1);
    let primary = parts.cache.disk(DiskId::PRIMARY);
    disks.extend(primary.map(|disk| in_use(disk, &counts)).transpose()?);
    for row in rows {
        disks.push(match parts.cache.disk(row.id) {
            Some(disk) => in_use(disk, &counts)?,
            None => missing(row, &counts, &parts.disks_left_out)?,
        });
    }
    for name in new {
        let (state, counts) = (DiskState::Missing, DiskCounts::default());
        let problem = parts.disks_left_out.get(name).cloned();
        let disk = told(false, name.as_str(), String::new(), state, counts)?;
        disks.push(DiskStatus { problem, ..disk });
    }
    Ok(DisksStatus { disks })
}

fn in_use(disk: &CacheDisk, counts: &Counts) -> Result<DiskStatus, ControlError> {
    // One that fails must not hide the others.
    let space = disk.space().now().unwrap_or_else(|error| {
        tracing::error!("cache disk {} does not tell its space: {error}", disk.name());
        DiskSpace::default()
    });
    let counts = counts.get(&disk.id()).copied().unwrap_or_default();
    let state = match (disk.is_draining(), disk.is_empty() && counts.files == 0) {
        (false, _) => DiskState::InUse,
        (true, false) => DiskState::Draining,
        (true, true) => DiskState::Empty,
    };
    let path = disk.dir().display().to_string();
    let (total, free) = (ByteSize(space.total), ByteSize(space.available));
    let is_primary = disk.id() == DiskId::PRIMARY;
    Ok(DiskStatus { total, free, ..told(is_primary, disk.name(), path, state, counts)? })
}

fn missing(row: DiskRow, counts: &Counts, left_out: &LeftOut) -> Result<DiskStatus, ControlError> {
    let counts = counts.get(&row.id).copied().unwrap_or_default();
    let disk = told(false, &row.name, row.path, DiskState::Missing, counts)?;
    let problem = left_out.get(&disk.name).cloned();
    Ok(DiskStatus { problem, ..disk })
}

fn told(
    primary: bool,
    name: &str,
    path: String,
    state: DiskState,
    counts: DiskCounts,
) -> Result<DiskStatus, ControlError> {
    let name: DiskName = name.parse().map_err(|error| {
        ControlError::Failed(format!("the catalog has a cache disk with a bad name: {error}"))
    })?;
    Ok(DiskStatus {
        name,
        path,
        primary,
        state,
        total: ByteSize(0),
        free: ByteSize(0),
        cached_bytes: ByteSize(counts.cached_bytes),
        dirty_bytes: ByteSize(counts.dirty_bytes),
        dirty_files: counts.dirty_files,
        files: counts.files,
        problem: None,
    })
}

/// Lets a disk take no new files and be emptied, or takes that back.
pub(super) async fn set_draining(
    parts: &Parts,
    name: &DiskName,
    draining: bool,
) -> Result<(), ControlError> {
    if name.as_str() == gateway_api::disks::PRIMARY {
        return Err(ControlError::Conflict(
            "the primary cache disk has the catalog and cannot be released".to_owned(),
        ));
    }
    let row = find(&parts.catalog, name).await?;
    let Some(disk) = parts.cache.disk(row.id) else {
        return Err(ControlError::Conflict(format!(
            "cache disk {name} is missing: attach it again, or forget it"
        )));
    };
    parts.catalog.set_draining(row.id, draining).await.map_err(|error| failed(&error))?;
    if disk.is_draining() != draining {
        disk.set_draining(draining);
    }
    tracing::info!("cache disk {name} {}", if draining { "is released" } else { "is kept" });
    Ok(())
}

async fn find(catalog: &Catalog, name: &DiskName) -> Result<DiskRow, ControlError> {
    let rows = catalog.disks().await.map_err(|error| failed(&error))?;
    let row = rows.into_iter().find(|row| row.name == name.as_str());
    row.ok_or_else(|| ControlError::NotFound(format!("no cache disk is called {name}")))
}

/// Forgets a missing disk, and with leave the files of which only it had the bytes.
pub(super) async fn forget(
    parts: &Parts,
    request: &ForgetRequest,
) -> Result<ForgetReport, ControlError> {
    let name = &request.name;
    if name.as_str() == gateway_api::disks::PRIMARY {
        return Err(ControlError::Conflict("the primary cache disk has the catalog".to_owned()));
    }
    let row = find(&parts.catalog, name).await?;
    if parts.cache.disk(row.id).is_some() {
        return Err(ControlError::Conflict(format!(
            "cache disk {name} is there: release it, and take it away when it is empty"
        )));
    }
    if !request.lose_dirty {
        refuse_loss(parts, &row).await?;
    }
    let mut report = ForgetReport::default();
    loop {
        // From the beginning each time: what is forgotten is not found again.
        let page = parts.catalog.dirty_on(row.id, Ino(0), PAGE_FILES).await;
        let page = page.map_err(|error| failed(&error))?;
        if page.is_empty() {
            break;
        }
        for inode in page {
            let lost = lose(parts, &inode).await.map_err(|error| failed(&error))?;
            report.lost_files += 1;
            if report.lost.len() < LOST_NAMED_MAX {
                report.lost.push(lost);
            }
        }
    }
    parts.catalog.forget_disk(row.id).await.map_err(|error| failed(&error))?;
    if report.lost_files > 0 {
        say(&parts.events, name, report.lost_files);
    }
    Ok(report)
}

/// # Errors
/// [`ControlError::Conflict`], which names what would be lost.
async fn refuse_loss(parts: &Parts, row: &DiskRow) -> Result<(), ControlError> {
    let page = parts.catalog.dirty_on(row.id, Ino(0), REFUSED_NAMED_MAX).await;
    let page = page.map_err(|error| failed(&error))?;
    if page.is_empty() {
        return Ok(());
    }
    let counts = parts.catalog.disk_counts().await.map_err(|error| failed(&error))?;
    let files = counts.get(&row.id).map_or(0, |counts| counts.dirty_files);
    let mut words = format!(
        "cache disk {} has the only bytes of {files} files, which S3 does not have. Attach it again; or, if it is \
         gone for ever, lose them with --lose-dirty:",
        row.name
    );
    for inode in &page {
        let lost = describe(parts, inode).await.map_err(|error| failed(&error))?;
        words.push_str(&format!("\n  {} ({})", shown(&lost), lost.size));
    }
    if files > page.len() as u64 {
        words.push_str(&format!("\n  and {} more", files - page.len() as u64));
    }
    Err(ControlError::Conflict(words))
}

/// Where a lost file was.
fn shown(lost: &LostFile) -> String {
    match &lost.share {
        Some(share) => format!("{share}:/{}", lost.path),
        None => lost.path.clone(),
    }
}

async fn describe(parts: &Parts, inode: &Inode) -> Result<LostFile, CatalogError> {
    let shares = parts.catalog.shares().await?;
    let share = shares.iter().find(|share| share.id == inode.share);
    Ok(LostFile {
        share: share.and_then(|share| share.name.parse().ok()),
        path: parts.catalog.path(inode.ino).await?,
        size: ByteSize(inode.size),
    })
}

async fn lose(parts: &Parts, inode: &Inode) -> Result<LostFile, CatalogError> {
    let write_back: &WriteBack = &parts.write_back;
    let lost = describe(parts, inode).await?;
    let _held = parts.locks.exclusive(inode.ino).await;
    tracing::error!(ino = inode.ino.0, "data lost with its cache disk: {}", shown(&lost));
    match parts.catalog.forget_lost(inode.ino, parts.clock.now()).await {
        Ok(()) | Err(CatalogError::Gone(_)) => {}
        Err(error) => return Err(error),
    }
    write_back.forget_file(inode.ino).await;
    Ok(lost)
}

fn say(events: &Events, name: &DiskName, files: u64) {
    let message = format!(
        "{files} files that S3 did not have were lost with cache disk {name}, which was forgotten; the log names them"
    );
    events.add(HealthEventKind::DataLost, None, message);
}

//! The cache disks as people read them.
use gateway_api::disks::{DiskName, DiskState, DiskStatus, DisksStatus, ForgetReport};

use crate::terminal::one_line;

/// Two lines for each disk.
pub fn render(status: &DisksStatus) -> String {
    let each = status.disks.iter().map(|disk| {
        let first = format!("{}: {}, {}", disk.name, state(disk), disk.path);
        format!("{}\n  {}\n", one_line(&first), holds(disk))
    });
    each.collect()
}

fn state(disk: &DiskStatus) -> String {
    match disk.state {
        DiskState::Missing if disk.problem.is_some() => {
            let problem = disk.problem.as_deref().unwrap_or_default();
            format!("missing with {} dirty files: {problem}", disk.dirty_files)
        }
        DiskState::InUse if disk.primary => "in use, has the catalog".to_owned(),
        DiskState::Missing if disk.dirty_files > 0 => {
            format!("missing with {} dirty files: attach it again", disk.dirty_files)
        }
        DiskState::Empty => "empty: it can be taken away".to_owned(),
        DiskState::InUse | DiskState::Draining | DiskState::Missing => {
            disk.state.as_str().to_owned()
        }
    }
}

fn holds(disk: &DiskStatus) -> String {
    let files = format!(
        "{} files, {} cached; {} files of {} not in S3",
        disk.files, disk.cached_bytes, disk.dirty_files, disk.dirty_bytes
    );
    match disk.state {
        DiskState::Missing => files,
        DiskState::InUse | DiskState::Draining | DiskState::Empty => {
            format!("{} free of {}; {files}", disk.free, disk.total)
        }
    }
}

/// What forgetting a disk has cost.
pub fn render_forgotten(name: &DiskName, report: &ForgetReport) -> String {
    let mut lines =
        vec![format!("cache disk {name} is forgotten; {} files were lost", report.lost_files)];
    lines.extend(report.lost.iter().map(|lost| {
        let share = lost.share.as_ref().map(|share| format!("{share}:/")).unwrap_or_default();
        format!("  {share}{} ({})", one_line(&lost.path), lost.size)
    }));
    let more = report.lost_files.saturating_sub(report.lost.len() as u64);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use gateway_api::{ByteSize, disks::LostFile};

    use super::*;

    #[test]
    fn a_missing_disk_says_what_to_do() {
        let disk = DiskStatus {
            name: "d1".parse().unwrap(),
            path: "/cache/d1".to_owned(),
            primary: false,
            state: DiskState::Missing,
            total: ByteSize(0),
            free: ByteSize(0),
            cached_bytes: ByteSize(5),
            dirty_bytes: ByteSize(5),
            dirty_files: 2,
            files: 2,
            problem: None,
        };
        let refused = DiskStatus { problem: Some("is another's".to_owned()), ..disk.clone() };
        let text = render(&DisksStatus { disks: vec![refused] });
        assert!(text.starts_with("d1: missing with 2 dirty files: is another's"), "{text}");
        let text = render(&DisksStatus { disks: vec![disk] });
        assert!(text.starts_with("d1: missing with 2 dirty files: attach it again"), "{text}");
        let lost = LostFile { share: None, path: "a".to_owned(), size: ByteSize(5) };
        let report = ForgetReport { lost: vec![lost], lost_files: 3 };
        let text = render_forgotten(&"d1".parse().unwrap(), &report);
        assert!(text.contains("3 files were lost") && text.contains("and 2 more"), "{text}");
    }
}

//! The status document as people read it.
use std::fmt::Write;

use gateway_api::{GatewayStatus, status::ShareState};

/// A status in a few lines, the most important word first.
pub fn render(status: &GatewayStatus) -> String {
    let mut text = String::new();
    let upload = &status.upload;
    let safe = if upload.is_idle() {
        "safe to shut down: everything written is in S3".to_owned()
    } else {
        format!(
            "still to upload: {} in {} files, {} deletions",
            upload.dirty_bytes, upload.dirty_files, upload.pending_deletes
        )
    };
    let cache = &status.cache;
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("gateway {}, up {} s", status.version, status.uptime_seconds));
    line(safe);
    if upload.failing > 0 {
        let why = upload.last_error.as_deref().unwrap_or("no reason recorded");
        line(format!("failing: {} objects, last: {why}", upload.failing));
    }
    if let Some(problem) = &status.settings_problem {
        line(format!("settings: {problem}"));
    }
    line(format!("cache: {} used, {} free of {}", cache.used, cache.free, cache.total));
    for share in &status.shares {
        let state = match &share.state {
            ShareState::Starting => "starting".to_owned(),
            ShareState::Available => "available".to_owned(),
            ShareState::Unavailable(reason) => format!("unavailable: {reason}"),
        };
        line(format!("share /{}: {}/{} {state}", share.name, share.bucket, share.prefix));
        if share.unrepresentable_keys > 0 {
            line(format!(
                "  {} objects cannot be shown as files (their keys are not usable as paths)",
                share.unrepresentable_keys
            ));
        }
    }
    for event in status.events.iter().take(5) {
        let share = event.share.as_ref().map(|s| format!(" {s}:")).unwrap_or_default();
        writeln!(text, "event:{share} {}", event.message).expect("writing to a string works");
    }
    text
}

#[cfg(test)]
mod tests {
    use gateway_api::{ByteSize, status::UploadStatus};

    use super::*;

    #[test]
    fn the_second_line_says_whether_it_is_safe_to_shut_down() {
        let mut status = GatewayStatus::default();
        assert!(render(&status).lines().nth(1).unwrap().starts_with("safe to shut down"));
        status.upload = UploadStatus {
            dirty_files: 2,
            dirty_bytes: ByteSize(1536),
            pending_deletes: 1,
            ..UploadStatus::default()
        };
        let text = render(&status);
        assert_eq!(
            text.lines().nth(1).unwrap(),
            "still to upload: 1.5 KiB in 2 files, 1 deletions"
        );
    }
}

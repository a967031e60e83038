//! The table of the whole path, for a terminal and in Markdown, and the same for programs.
use serde_json::{Value, json};

use super::{
    lines::{Bar, Line},
    rounds::{Side, Times},
};
use crate::bench::{
    summary::{Ratio, median},
    table::{self, Style},
};

/// What the columns mean.
pub const LEGEND: &str = "\
by              what a line is measured by, in the same minute: a plain S3 client (AWS SDK) on the same server, or the disk
×               gateway / by, of what the line shows, median of the rounds' own ratios (least to most)
bar             what is asked of ×, or of the gateway's time; nothing here passes or fails
others          the same of the peers: value and × against by";

const NOTHING: &str = "–";

/// Writes the table of `lines`; `peers` are their names.
pub fn render(lines: &[Line], times: &Times, peers: &[&str], style: Style) -> String {
    let mut rows = vec![head(peers)];
    rows.extend(lines.iter().map(|line| row(line, times, peers.len())));
    table::of_rows(&rows, style)
}

fn head(peers: &[&str]) -> Vec<String> {
    let own = ["line", "by", "unit", "by: value", "gateway", "×", "bar", "met"];
    own.iter().chain(peers).map(|&title| title.to_owned()).collect()
}

fn row(line: &Line, times: &Times, peers: usize) -> Vec<String> {
    let (by, ours) = (times.of(line, Side::By), times.of(line, Side::Gateway));
    let met = match line.is_met(ours, by) {
        None => NOTHING,
        Some(true) => "yes",
        Some(false) => "no",
    };
    let ratio = both(ours, by).then(|| spread(line.ratio(ours, by)));
    let mut cells = vec![
        line.title.to_owned(),
        if line.by.is_empty() { NOTHING.to_owned() } else { line.by.to_owned() },
        line.unit.name().to_owned(),
        value(line, by),
        value(line, ours),
        ratio.unwrap_or_else(|| NOTHING.to_owned()),
        bar(line.bar),
        met.to_owned(),
    ];
    cells.extend((0..peers).map(|peer| {
        let theirs = times.of(line, Side::Peer(peer));
        match times.failure(line, peer) {
            Some(_) if theirs.is_empty() => "failed".to_owned(),
            _ if both(theirs, by) => {
                format!("{} ({:.2})", value(line, theirs), line.ratio(theirs, by).median)
            }
            _ => value(line, theirs),
        }
    }));
    cells
}

fn both(ours: &[f64], by: &[f64]) -> bool {
    !ours.is_empty() && !by.is_empty()
}

fn value(line: &Line, seconds: &[f64]) -> String {
    if seconds.is_empty() {
        return NOTHING.to_owned();
    }
    let value = line.unit.of(median(seconds));
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn spread(ratio: Ratio) -> String {
    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most)
}

fn bar(bar: Bar) -> String {
    match bar {
        Bar::None => NOTHING.to_owned(),
        Bar::Times(most) => format!("≤ {most} ×"),
        Bar::Of(least) => format!("≥ {least} ×"),
        Bar::Within(seconds) => format!("≤ {seconds} s"),
    }
}

/// The same, with every round.
pub fn report(lines: &[Line], times: &Times, peers: &[&str]) -> Value {
    let line = |line: &Line| {
        let side = |side| json!({ "median": value(line, times.of(line, side)), "rounds_seconds": times.of(line, side) });
        let peers: serde_json::Map<String, Value> = peers
            .iter()
            .enumerate()
            .map(|(peer, name)| {
                let mut theirs = side(Side::Peer(peer));
                if let Some(why) = times.failure(line, peer) {
                    theirs["failure"] = why.into();
                }
                ((*name).to_owned(), theirs)
            })
            .collect();
        let (by, ours) = (times.of(line, Side::By), times.of(line, Side::Gateway));
        json!({
            "id": line.id,
            "title": line.title,
            "unit": line.unit.name(),
            "measured_by": line.by,
            "by": side(Side::By),
            "gateway": side(Side::Gateway),
            "ratio": both(ours, by).then(|| line.ratio(ours, by).median),
            "bar": bar(line.bar),
            "met": line.is_met(ours, by),
            "peers": peers,
        })
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::whole::lines;

    fn times() -> Times {
        let mut times = Times::default();
        for (line, by, ours, theirs) in [("put-last", 1.0, 1.2, 2.0), ("read", 1.0, 2.0, 4.0)] {
            times.note(line, Side::By, by);
            times.note(line, Side::Gateway, ours);
            times.note(line, Side::Peer(0), theirs);
        }
        times.note("rename", Side::Gateway, 0.004);
        times
    }

    fn rows() -> Vec<String> {
        let lines = lines::all(&lines::Scale::QUICK);
        let table = render(&lines, &times(), &["theirs"], Style::Markdown);
        table.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_row_says_what_by_how_much_and_whether_it_is_enough() {
        let rows = rows();
        assert!(rows[0].starts_with("| line | by | unit |") && rows[0].ends_with("| theirs |"));
        let row = |title: &str| rows.iter().find(|row| row.contains(title)).unwrap();
        assert_eq!(
            row("after the last write"),
            "| … after the last write | 8-part PUT | s | 1.00 | 1.20 | 1.20 (1.20–1.20) | ≤ 1.3 × | \
             yes | 2.00 (2.00) |"
        );
        assert_eq!(
            row("read cold"),
            "| large object, read cold | 8-part GET | MiB/s | 128 | 64.0 | 0.50 (0.50–0.50) | ≥ 0.8 × | \
             no | 32.0 (0.25) |"
        );
        assert!(
            row("directory: reply").contains("| – | s | – | 0.0040 | – | ≤ 0.05 s | yes | – |")
        );
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let rows = rows();
        let row = rows.iter().find(|row| row.contains("READDIRPLUS, first")).unwrap();
        assert!(row.ends_with("| – | – | – | ≤ 1.5 × | – | – |"), "{row}");
    }
}

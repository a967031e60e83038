//! The table, for a terminal and in Markdown.
use std::fmt::Write;

use super::{
    rounds::Outcome,
    summary::{Comparison, Ratio, median},
};

/// How the table is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// Columns of one width.
    Text,
    /// To be pasted into a document.
    Markdown,
}

/// What the columns mean.
pub const LEGEND: &str = "\
ours, ganesha   median throughput; ganesha with the same promise as ours: changes of names on the disk before the reply
×               ours / ganesha, median of the rounds' own ratios (least to most); above 1, the gateway is faster
CPU             processor seconds of the server's process, user and system, per GiB or per 1000 operations
CPU ×           ganesha's CPU / ours; above 1, the gateway takes less for the same work
as shipped      ganesha without that promise, where it matters";

const HEAD: [&str; 9] = [
    "line",
    "unit",
    "ours",
    "ganesha",
    "×",
    "CPU ours",
    "CPU ganesha",
    "CPU ×",
    "as shipped: rate, ×, CPU ×",
];
const NOTHING: &str = "–";

/// Writes the table.
pub fn render(outcomes: &[Outcome], style: Style) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(outcomes.iter().map(|outcome| row(outcome).to_vec()));
    of_rows(&rows, style)
}

/// Writes rows of as many cells each, of which the first has the headings and the first two of each are words.
pub fn of_rows(rows: &[Vec<String>], style: Style) -> String {
    match style {
        Style::Markdown => markdown(rows),
        Style::Text => text(rows),
    }
}

/// What the program that only answers took, line by line.
pub fn least(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    for Outcome { line, least, .. } in outcomes {
        let Some(least) = least else { continue };
        let (rates, costs) = (least.rates(line.unit), least.costs(line.unit));
        let (rate, cost) = (rate(median(&rates)), cost(median(&costs)));
        let (rate_unit, cost_unit) = (line.unit.rate(), line.unit.cost());
        writeln!(out, "{}: {rate} {rate_unit}, {cost} {cost_unit}", line.title)
            .expect("a string takes everything");
    }
    if !out.is_empty() {
        out.insert_str(
            0,
            "The same load on a program that only reads calls and writes constant replies:\n",
        );
    }
    out
}

/// Heading of what [`line`] gives.
pub fn line_heading() -> String {
    let [title, _, ours, ganesha, speed, ..] = HEAD;
    format!("{title:<36} {ours:>8} {ganesha:>8} {:<9}  {speed:<18} CPU ×", "")
}

/// One line of the table, for those who wait.
pub fn line(outcome: &Outcome) -> String {
    let [title, _, ours, ganesha, speed, _, _, thrift, _] = row(outcome);
    let unit = outcome.line.unit.rate();
    format!("{title:<36} {ours:>8} {ganesha:>8} {unit:<9}  {speed:<18} {thrift}")
}

fn row(outcome: &Outcome) -> [String; 9] {
    let unit = outcome.line.unit;
    let compare = |theirs| Comparison::of(unit, &outcome.ours, theirs);
    let bar = compare(outcome.equal());
    let shipped = outcome.line.changes_names().then(|| compare(&outcome.shipped));
    [
        outcome.line.title.to_owned(),
        format!("{}, {}", unit.rate(), unit.cost()),
        rate(median(&outcome.ours.rates(unit))),
        rate(bar.rate),
        spread(bar.speed),
        cost(median(&outcome.ours.costs(unit))),
        cost(bar.cost),
        format!("{:.2}", bar.thrift.median),
        shipped.map_or_else(
            || NOTHING.to_owned(),
            |with| {
                let Comparison { speed, thrift, .. } = with;
                format!("{}, {:.2}, {:.2}", rate(with.rate), speed.median, thrift.median)
            },
        ),
    ]
}

fn rate(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn cost(value: f64) -> String {
    if value < 0.1 { format!("{value:.4}") } else { format!("{value:.3}") }
}

fn spread(ratio: Ratio) -> String {
    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most)
}

fn markdown(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        out.push_str(&format!("| {} |\n", row.join(" | ")));
        if number == 0 {
            out.push_str(&format!("|---|---|{}\n", "---:|".repeat(row.len() - 2)));
        }
    }
    out
}

fn text(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let cell =
                if column < 2 { format!("{cell}{padding}") } else { format!("{padding}{cell}") };
            write!(line, "{cell}  ").expect("a string takes everything");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{lines, measurement::Measurement, summary::Rounds};

    fn rounds(seconds: f64) -> Rounds {
        Rounds(vec![Measurement {
            operations: 1000,
            bytes: 1 << 30,
            begun: 0.0,
            seconds,
            first_seconds: 0.0,
            errors: 0,
            p50_us: 0.0,
            p99_us: 0.0,
            server_cpu_seconds: seconds / 2.0,
        }])
    }

    fn outcome(id: &str, synchronous: Option<f64>) -> Outcome {
        let line = lines::all().into_iter().find(|line| line.id == id).unwrap();
        let synchronous = synchronous.map(rounds);
        let least = line.is_null().then(|| rounds(0.5));
        Outcome { line, ours: rounds(2.0), shipped: rounds(1.0), synchronous, least }
    }

    #[test]
    fn the_bar_for_names_is_equal_durability() {
        let table = render(&[outcome("create-8", Some(4.0))], Style::Markdown);
        let row = table.lines().nth(2).unwrap();
        assert_eq!(
            row,
            "| create 4 KiB, 8 callers | files/s, s/1000 | 500 | 250 | 2.00 (2.00–2.00) | 1.000 | \
             2.000 | 2.00 | 1000, 0.50, 0.50 |"
        );
    }

    #[test]
    fn where_no_names_change_there_is_one_comparison() {
        let table = render(&[outcome("read-1m", None)], Style::Markdown);
        let row = table.lines().nth(2).unwrap();
        assert!(row.ends_with("| 1.000 | 0.500 | 0.50 | – |"), "{row}");
    }

    #[test]
    fn the_least_is_told_of_null_alone() {
        let outcomes = [outcome("null-1", None), outcome("read-1m", None)];
        let said = least(&outcomes);
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.ends_with("NULL, one at a time: 2000 calls/s, 0.250 s/1000\n"), "{said}");
        assert_eq!(least(&outcomes[1..]), "");
    }

    #[test]
    fn columns_of_the_text_table_line_up() {
        let table = render(&[outcome("null-1", None), outcome("read-1m", None)], Style::Text);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 3);
        let at = |row: &str, word: &str| row.split(word).next().unwrap().chars().count();
        assert_eq!(at(rows[1], "calls/s"), at(rows[2], "MiB/s"));
    }
}

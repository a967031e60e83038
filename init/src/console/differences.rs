//! What differs between two settings documents, setting by setting. Pure.
//!
//! Secrets are never shown: that one is given is all that is said.
use toml::{Table, Value};

/// Settings whose values nobody is to read.
const SECRETS: [&str; 4] =
    ["secret_access_key", "session_token", "proxy_password", "password_hash"];
/// Longest value that is shown.
const VALUE_CHARS_MAX: usize = 60;

/// A line for each setting that is another one, such as `machine.hostname: "a" -> "b"`.
pub(super) fn differences(path: &str, before: &Table, after: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let path = format!("{path}.{name}");
        compare(&path, name, before.get(name), after.get(name), &mut lines);
    }
    lines
}

fn compare(
    path: &str,
    name: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    lines: &mut Vec<String>,
) {
    if before == after {
        return;
    }
    if SECRETS.contains(&name) {
        // One that is left out stays as it is.
        if after.is_some_and(|value| value.as_str() != Some("")) {
            lines.push(format!("{path}: a secret is given"));
        }
        return;
    }
    let none = Table::new();
    match (tables(before), tables(after)) {
        (Some(before), Some(after)) => {
            let (before, after) = (named(before), named(after));
            for (key, table) in &before {
                let other = after.iter().find(|(name, _)| name == key);
                match other {
                    Some((_, other)) => {
                        lines.extend(differences(&format!("{path}.{key}"), table, other));
                    }
                    None => lines.push(format!("{path}.{key}: removed")),
                }
            }
            for (key, table) in &after {
                if !before.iter().any(|(name, _)| name == key) {
                    lines.push(format!("{path}.{key}: added"));
                    lines.extend(differences(&format!("{path}.{key}"), &none, table));
                }
            }
        }
        _ => match (before, after) {
            (Some(Value::Table(before)), Some(Value::Table(after))) => {
                lines.extend(differences(path, before, after));
            }
            _ => lines.push(format!("{path}: {} -> {}", shown(before), shown(after))),
        },
    }
}

/// The tables of an array of them; nothing and an empty array have none.
fn tables(value: Option<&Value>) -> Option<Vec<&Table>> {
    match value {
        None => Some(Vec::new()),
        Some(Value::Array(all)) => all.iter().map(Value::as_table).collect(),
        Some(
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Table(_),
        ) => None,
    }
}

/// Tables by their `name`, or by their number from 1 on.
fn named(tables: Vec<&Table>) -> Vec<(String, &Table)> {
    let name = |(at, table): (usize, &Table)| match table.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => (at + 1).to_string(),
    };
    tables.into_iter().enumerate().map(|(at, table)| (name((at, table)), table)).collect()
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "none".to_owned() };
    let text = value.to_string().replace('\n', " ");
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    let start: String = text.chars().take(VALUE_CHARS_MAX - 4).collect();
    format!("{start} ...")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &str, after: &str) -> Vec<String> {
        differences("m", &before.parse().unwrap(), &after.parse().unwrap())
    }

    #[test]
    fn each_setting_that_differs_is_one_line() {
        assert_eq!(between("a = 1", "a = 1"), Vec::<String>::new());
        assert_eq!(between("a = 1\nb = 'x'", "a = 2"), ["m.a: 1 -> 2", "m.b: \"x\" -> none"]);
        assert_eq!(between("[s]\na = [1]", "[s]\na = [1, 2]"), ["m.s.a: [1] -> [1, 2]"]);
        let long = format!("a = '{}'", "x".repeat(100));
        assert!(between("", &long)[0].ends_with("x ..."), "{:?}", between("", &long));
    }

    #[test]
    fn tables_are_told_apart_by_their_names() {
        let before = "[[share]]\nname = 'a'\nro = false\n[[share]]\nname = 'b'\nro = false";
        let after = "[[share]]\nname = 'c'\nro = true\n[[share]]\nname = 'a'\nro = true";
        assert_eq!(
            between(before, after),
            [
                "m.share.a.ro: false -> true",
                "m.share.b: removed",
                "m.share.c: added",
                "m.share.c.name: none -> \"c\"",
                "m.share.c.ro: none -> true",
            ]
        );
        assert_eq!(between("", "share = []"), Vec::<String>::new());
    }

    #[test]
    fn secrets_are_not_shown() {
        let lines = between("session_token = ''", "session_token = 'hush'\nsecret_access_key = ''");
        assert_eq!(lines, ["m.session_token: a secret is given"]);
        assert!(between("password_hash = 'hush'", "").is_empty(), "left out, it stays");
    }
}

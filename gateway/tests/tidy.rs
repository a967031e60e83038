//! The house rules that a compiler does not check, as tests: who may know whom, which foreign names
//! stay behind their fence, how long a file may get, which words do not belong.
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Layers from the bottom up; a module may use its own and every earlier layer.
const LAYERS: &[&[&str]] = &[
    &[
        "limits",
        "clock",
        "object",
        "tasks",
        "blocking",
        "budget",
        "metrics",
        "failpoint",
        "essential",
        "locks",
        "ids",
        "ranges",
        "sums",
    ],
    &["store", "catalog", "cache"],
    &["share", "verified"],
    &["fetch", "upload", "refresh"],
    &["vfs"],
    &[
        "settings",
        "identity",
        "allocator",
        "logging",
        "systemd",
        "status_text",
        "disks_text",
        "terminal",
        "prometheus",
        "recovery",
        "connection",
    ],
    &["nfs", "admin"],
    &["run", "cli"],
];

/// Leaves: none of them may know another.
const STRANGERS: &[&str] = &["store", "catalog", "cache"];

/// Types that are vocabulary although their module is a layer: who may name them, and why.
const VOCABULARY: &[(&str, &str)] = &[
    // Inode and share numbers and attributes are the file system's own words.
    ("vfs", "Ino"),
    ("vfs", "ShareId"),
    ("vfs", "FileKind"),
    ("vfs", "FsError"),
    ("vfs", "Credentials"),
    // Present ranges are what the catalog keeps of the cache.
    ("cache", "RangeSet"),
];

/// Foreign crates and the only places that may name them.
const FENCES: &[(&str, &[&str])] = &[
    ("aws_", &["store/s3"]),
    ("rusqlite", &["catalog/"]),
    ("nfsserve", &["nfs/"]),
    ("axum", &["admin/"]),
    ("hyper_util", &["admin/"]),
];

const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn rust_files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines of `text` before its tests, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]" && !line.starts_with("#[cfg(any(test"))
        .enumerate()
        .map(|(i, line)| (i + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Every `crate::a::B` of the file as (line number, module, rest), braces of a `use` included.
fn crate_paths(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let lines: Vec<(usize, &str)> = code_lines(text).collect();
    let joined: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    let mut from = 0;
    while let Some(at) = joined[from..].find("crate::") {
        let start = from + at + "crate::".len();
        let line = joined[..start].matches('\n').count();
        let number = lines.get(line).map_or(0, |(n, _)| *n);
        let rest = &joined[start..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut item = String::new();
            let mut items = Vec::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                if c == ',' && depth == 1 {
                    items.push(std::mem::take(&mut item));
                } else {
                    item.push(c);
                }
            }
            items.push(item);
            for item in items {
                let item = item.trim();
                let (module, rest) = item.split_once("::").unwrap_or((item, ""));
                if !module.is_empty() {
                    found.push((number, module.to_owned(), rest.to_owned()));
                }
            }
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '{'))
                .unwrap_or(rest.len());
            let path = match rest[..end].find('{') {
                Some(_) => rest.split(';').next().unwrap_or_default(),
                None => &rest[..end],
            };
            let (module, tail) = path.split_once("::").unwrap_or((path, ""));
            found.push((number, module.to_owned(), tail.to_owned()));
        }
        from = start;
    }
    found
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn is_vocabulary(module: &str, rest: &str) -> bool {
    let names = rest.trim_matches(|c| c == '{' || c == '}');
    let mut named =
        names.split(',').map(|n| n.trim().rsplit("::").next().unwrap_or_default()).peekable();
    named.peek().is_some()
        && named.all(|name| VOCABULARY.iter().any(|(m, n)| *m == module && *n == name))
}

#[test]
fn modules_know_only_the_layers_below_them() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in rust_files(&src) {
        let relative = path.strip_prefix(&src).expect("found below src").to_string_lossy();
        let module = relative.split(['/', '.']).next().unwrap_or_default();
        if matches!(module, "main" | "lib") || relative.contains("testing") {
            continue;
        }
        let Some(own) = layer_of(module) else {
            wrong.push(format!("{relative}: module {module} has no layer in tidy.rs"));
            continue;
        };
        let text = fs::read_to_string(&path).expect("a source file can be read");
        for (line, used, rest) in crate_paths(&text) {
            seen += 1;
            let Some(theirs) = layer_of(&used) else { continue };
            let strangers = STRANGERS.contains(&module) && STRANGERS.contains(&used.as_str());
            if used != module && (theirs > own || strangers) && !is_vocabulary(&used, &rest) {
                wrong.push(format!("{relative}:{line}: {module} must not know {used}::{rest}"));
            }
        }
    }
    assert!(seen > 20, "the test reads the sources");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn foreign_names_stay_behind_their_fences() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    for path in rust_files(&src) {
        let relative = path.strip_prefix(&src).expect("found below src").to_string_lossy();
        let text = fs::read_to_string(&path).expect("a source file can be read");
        for (line, code) in code_lines(&text) {
            for (name, places) in FENCES {
                let used = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| {
                    if name.ends_with('_') { word.starts_with(name) } else { word == *name }
                });
                if used && !places.iter().any(|place| relative.starts_with(place)) {
                    wrong.push(format!("{relative}:{line}: {name} belongs in {places:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for_and_stays_readable() {
    let workspace = root().join("..");
    let mut wrong = Vec::new();
    for folder in ["gateway", "init", "image", "vmware", "tests"] {
        for path in rust_files(&workspace.join(folder)) {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            let shown = path.strip_prefix(&workspace).unwrap_or(&path).display();
            if !text.starts_with("//!") && !text.starts_with("#!") {
                wrong.push(format!("{shown}: begins without a //! line"));
            }
            let lines = code_lines(&text).count();
            if lines > LINES_MAX {
                wrong.push(format!("{shown}: {lines} lines of code, at most {LINES_MAX}"));
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            for word in ["manager", "helper", "util"] {
                if stem.split('_').any(|part| part.trim_end_matches('s') == word) {
                    wrong.push(format!("{shown}: {word} says nothing; name what it does"));
                }
            }
            for (number, line) in text.lines().enumerate() {
                let marker = ["TO", "DO"].concat();
                if line.contains(&marker) || line.contains(&["FIX", "ME"].concat()) {
                    wrong.push(format!("{shown}:{}: a promise instead of work", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_top_level_is_what_was_agreed() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "gateway",
        "init",
        "image",
        "vmware",
        "tests",
        "target",
        "out",
    ];
    let workspace = root().join("..");
    for entry in fs::read_dir(workspace).expect("the workspace can be read") {
        let name = entry.expect("an entry can be read").file_name();
        let name = name.to_string_lossy();
        assert!(name.starts_with('.') || allowed.contains(&&*name), "{name} at the top level");
    }
}

/// Where the sources of a program's tests are: what a path in docs/faults.md begins with, and the folder's path.
/// Other programs are single tests of the gateway, or tests of the whole.
const PROGRAMS: &[(&str, &str)] = &[("gateway", "gateway/src"), ("init", "init/src")];

/// The names in backquotes that are paths of tests, such as `serve::flush::a_flush_ends`.
fn named_tests(line: &str) -> Vec<&str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.contains("::") && !name.ends_with(':')).collect()
}

/// Whether the file at `path` of the workspace is where the modules of a test's path lead: those within a file
/// may be among them.
fn leads_to(modules: &[&str], path: &str) -> bool {
    let program = modules[0];
    let own = PROGRAMS.iter().find(|(name, _)| *name == program).map(|(_, folder)| *folder);
    let folders = match own {
        Some(folder) => vec![folder.to_owned()],
        None => vec![format!("gateway/tests/{program}"), format!("tests/tests/{program}")],
    };
    folders.iter().any(|folder| {
        let is_root = path == format!("{folder}.rs") || path == format!("{folder}/main.rs");
        let within = path.strip_prefix(&format!("{folder}/")).and_then(|p| p.strip_suffix(".rs"));
        let within = within.map(|p| p.trim_end_matches("/mod"));
        let is_inline = |module: &&str| matches!(*module, "tests" | "in_a_vm");
        (1..=modules.len())
            .filter(|end| modules[*end..].iter().all(is_inline))
            .any(|end| if end == 1 { is_root } else { within == Some(&*modules[1..end].join("/")) })
    })
}

/// Whether the workspace has a test of this name, `program::path::test`.
fn tests_of_the_workspace() -> impl Fn(&str) -> bool {
    let workspace = root().join("..").canonicalize().expect("the workspace is there");
    let sources: Vec<(String, String)> = ["gateway", "init", "tests"]
        .iter()
        .flat_map(|folder| rust_files(&workspace.join(folder)))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            let path = path.strip_prefix(&workspace).expect("found below it");
            (path.to_string_lossy().into_owned(), text)
        })
        .collect();
    move |name| {
        let parts: Vec<&str> = name.split("::").collect();
        let (test, modules) = parts.split_last().expect("it has several");
        let declared = format!("fn {test}(");
        sources.iter().any(|(path, text)| leads_to(modules, path) && text.contains(&declared))
    }
}

/// docs/faults.md: every test that it names is there, and every row says by which tests it is proved, or what is
/// not.
#[test]
fn the_table_of_faults_names_tests_that_exist() {
    let is_there = tests_of_the_workspace();
    let table = fs::read_to_string(root().join("docs/faults.md")).expect("the table is there");
    let (mut wrong, mut rows, mut named) = (Vec::new(), 0, 0);
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.contains("| state |")) {
        rows += 1;
        let row = &line[..line.len().min(40)];
        let tests = named_tests(line);
        named += tests.len();
        let missing = tests.iter().filter(|name| !is_there(name));
        wrong.extend(missing.map(|name| format!("{row}…: there is no {name}")));
        if line.contains("| proved |") && tests.is_empty() {
            wrong.push(format!("{row}…: proved by nothing"));
        }
        if line.contains("| in part |") && !line.contains("Not: ") && !line.contains(": all but ") {
            wrong.push(format!("{row}…: does not say what is missing"));
        }
    }
    assert!(rows > 40 && named > 150, "the test reads the table: {rows} rows, {named} tests");
    assert!(!is_there("serve::flush::nothing_of_this_name") && !is_there("movers::flush::a_flush"));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// docs/mutants.md: what can be left out (src/essential.rs) is in it, once, with a test that is there.
#[test]
fn every_step_that_can_be_left_out_has_a_test_that_notices() {
    let is_there = tests_of_the_workspace();
    let steps = fs::read_to_string(root().join("src/essential.rs")).expect("it can be read");
    let named = |line: &str| {
        let (_, rest) = line.trim().split_once(" = \"")?;
        rest.strip_suffix("\",").map(str::to_owned)
    };
    let mut steps: Vec<String> = steps.lines().filter_map(named).collect();
    let table = fs::read_to_string(root().join("docs/mutants.md")).expect("the table is there");
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let mut listed = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [step, _, test] = cells[..] else { panic!("a line of another form: {line}") };
        assert!(is_there(&cell(test)), "there is no {test}");
        listed.push(cell(step));
    }
    steps.sort();
    listed.sort();
    assert!(steps.len() > 20, "the test reads the sources: {steps:?}");
    assert_eq!(listed, steps);
}

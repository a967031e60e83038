//! Goal: whoever reads which test shows a fault finds that test. Method: every test and every golden page that
//! `docs/faults.md` names is looked for.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
use std::{fs, path::Path};

/// All Rust sources below a folder, as one text.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    text
}

#[test]
fn every_test_and_page_that_the_table_of_faults_names_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(here.join("docs/faults.md")).unwrap();
    let of_crate = ["init", "tests", "gateway"].map(|name| {
        let folder = here.parent().unwrap().join(name);
        (name, sources(&folder))
    });
    let mut named = 0;
    let rows = document.lines().filter(|line| line.starts_with("| ")).skip(1);
    for row in rows.take_while(|row| !row.starts_with("| run ")) {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in shown_by.split('`').skip(1).step_by(2) {
            named += 1;
            let Some((package, path)) = name.split_once(' ') else {
                let page = here.join("tests/golden/console").join(format!("{name}.txt"));
                assert!(page.exists(), "{row}: no page {name}");
                continue;
            };
            let (_, source) = of_crate.iter().find(|(known, _)| *known == package).unwrap();
            let test = format!("fn {}(", path.rsplit("::").next().unwrap());
            assert!(source.contains(&test), "{row}: no test {name}");
        }
    }
    assert!(named > 40, "{named} tests and pages are named");
}

//! Which shared libraries a set of programs needs, found as the dynamic loader finds them.
//!
//! Reads ELF files only: `DT_NEEDED`, `DT_RUNPATH`, the interpreter and symbol versions. Libraries
//! that a program opens by name at run time (dlopen) cannot be seen and must be given as roots.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use goblin::elf::Elf;

/// Folders that Debian's loader searches, relative to the root of the tree.
const LIBRARY_DIRS: [&str; 3] = ["usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib64"];

/// Path in the image (relative to its root) of each library, with the file to take it from.
pub type Libraries = BTreeMap<PathBuf, PathBuf>;

struct Object {
    needed: Vec<String>,
    search: Vec<PathBuf>,
    /// (library, symbol version) pairs that must be there.
    versions_needed: Vec<(String, String)>,
    versions_defined: BTreeSet<String>,
}

/// The libraries that `roots` (files on the host, in the tree or not) need from `tree`.
///
/// # Errors
/// Names every library that the tree lacks, and every symbol version that is newer than what the
/// tree's library has (a program built on a host newer than the image).
pub fn closure(tree: &Path, roots: &[PathBuf]) -> Result<Libraries> {
    let mut libraries = Libraries::new();
    let mut objects: BTreeMap<String, Object> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    let mut todo: Vec<(String, PathBuf)> =
        roots.iter().map(|root| (root.display().to_string(), root.clone())).collect();
    while let Some((name, file)) = todo.pop() {
        if objects.contains_key(&name) {
            continue;
        }
        let object = read(&file)?;
        for soname in &object.needed {
            let Some(relative) = find(tree, soname, &object.search) else {
                missing.insert(format!("{soname} (needed by {name})"));
                continue;
            };
            let source = tree.join(&relative);
            todo.push((soname.clone(), source.clone()));
            libraries.insert(relative, source);
        }
        objects.insert(name, object);
    }
    if !missing.is_empty() {
        let list: Vec<String> = missing.into_iter().collect();
        bail!("no package of the image holds {}: add the package that does", list.join(", "));
    }
    check_versions(&objects)?;
    Ok(libraries)
}

fn check_versions(objects: &BTreeMap<String, Object>) -> Result<()> {
    let mut lacking = BTreeSet::new();
    for (name, object) in objects {
        for (library, version) in &object.versions_needed {
            if let Some(provider) = objects.get(library)
                && !provider.versions_defined.contains(version)
            {
                lacking.insert(format!("{name} needs {version} of {library}"));
            }
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = lacking.into_iter().collect();
    bail!(
        "the image's libraries are older than these programs expect: {}; build the programs on a \
         system no newer than Debian 13",
        list.join(", ")
    )
}

fn find(tree: &Path, soname: &str, search: &[PathBuf]) -> Option<PathBuf> {
    search
        .iter()
        .map(PathBuf::as_path)
        .chain(LIBRARY_DIRS.iter().map(Path::new))
        .map(|dir| dir.join(soname))
        .find(|relative| tree.join(relative).is_file())
}

fn read(file: &Path) -> Result<Object> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let elf = Elf::parse(&bytes)
        .with_context(|| format!("{} is not a program or library", file.display()))?;
    let mut needed: Vec<String> = elf.libraries.iter().map(|name| (*name).to_owned()).collect();
    if let Some(interpreter) = elf.interpreter
        && let Some(name) = Path::new(interpreter).file_name()
    {
        needed.push(name.to_string_lossy().into_owned());
    }
    let search = elf
        .runpaths
        .iter()
        .chain(&elf.rpaths)
        .flat_map(|list| list.split(':'))
        .filter_map(|dir| dir.strip_prefix('/'))
        .map(PathBuf::from)
        .collect();
    let text = |offset: usize| elf.dynstrtab.get_at(offset).unwrap_or_default().to_owned();
    let mut versions_needed = Vec::new();
    if let Some(section) = &elf.verneed {
        for need in section.iter() {
            for version in need.iter() {
                // A weak reference (VER_FLG_WEAK) may stay unsatisfied.
                if version.vna_flags & 2 == 0 {
                    versions_needed.push((text(need.vn_file), text(version.vna_name)));
                }
            }
        }
    }
    let mut versions_defined = BTreeSet::new();
    if let Some(section) = &elf.verdef {
        for definition in section.iter() {
            versions_defined.extend(definition.iter().map(|version| text(version.vda_name)));
        }
    }
    Ok(Object { needed, search, versions_needed, versions_defined })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_program() -> PathBuf {
        std::env::current_exe().expect("the test itself is a program")
    }

    #[test]
    fn the_hosts_own_libraries_satisfy_this_test() {
        let libraries = closure(Path::new("/"), &[host_program()]).expect("it runs, so they do");
        assert!(libraries.keys().any(|path| path.ends_with("libc.so.6")));
        assert!(libraries.keys().any(|path| path.ends_with("ld-linux-x86-64.so.2")));
    }

    #[test]
    fn a_library_that_the_tree_lacks_is_named() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        let error = closure(empty.path(), &[host_program()]).expect_err("the tree is empty");
        assert!(error.to_string().contains("libc.so.6"), "{error}");
    }

    #[test]
    fn a_symbol_version_that_the_tree_lacks_is_named() {
        let library = Object {
            needed: vec![],
            search: vec![],
            versions_needed: vec![],
            versions_defined: BTreeSet::from(["GLIBC_2.41".to_owned()]),
        };
        let program = Object {
            needed: vec!["libc.so.6".into()],
            search: vec![],
            versions_needed: vec![("libc.so.6".into(), "GLIBC_2.99".into())],
            versions_defined: BTreeSet::new(),
        };
        let objects = BTreeMap::from([("libc.so.6".into(), library), ("gateway".into(), program)]);
        let error = check_versions(&objects).expect_err("2.99 is not there");
        assert!(error.to_string().contains("GLIBC_2.99"), "{error}");
    }
}

//! Kernel modules: those that are asked for and all that they need, with the index files that a
//! loader reads. Does what depmod does, for a subset, from each module's own `.modinfo` section.
//!
//! Modules are stored uncompressed: the image compresses them, and loading them is faster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use goblin::elf::Elf;

/// The modules of an unpacked kernel package.
#[derive(Debug)]
pub struct KernelModules {
    dir: PathBuf,
    release: String,
    /// Module name (with `_`) to its path below the folder, as packaged (`.ko.xz`).
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    builtin_list: String,
}

/// One module, uncompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Name with `_`, for example `dm_verity`.
    pub name: String,
    /// Path below `/lib/modules/RELEASE`, for example `kernel/drivers/md/dm-verity.ko`.
    pub path: String,
    /// The ELF file; the kernel's signature stays appended.
    pub content: Vec<u8>,
    depends: Vec<String>,
    aliases: Vec<String>,
    softdeps: Vec<String>,
}

/// A set of modules that is closed under dependencies.
#[derive(Debug, Clone)]
pub struct ModuleSet {
    release: String,
    modules: BTreeMap<String, Module>,
    builtin_list: String,
}

impl KernelModules {
    /// Finds the one kernel in a tree of unpacked packages.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn open(tree: &Path) -> Result<Self> {
        let parent = tree.join("usr/lib/modules");
        let mut found: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(&parent)
            .with_context(|| format!("no kernel is unpacked in {}", tree.display()))?
        {
            found.push(entry?.path());
        }
        let [dir] = found.as_slice() else {
            bail!("expected one kernel in {}, found {}", parent.display(), found.len());
        };
        let release = dir.file_name().context("a folder entry has a name")?;
        let release = release.to_string_lossy().into_owned();
        let builtin_list = std::fs::read_to_string(dir.join("modules.builtin"))
            .context("the kernel package lacks modules.builtin")?;
        let builtin = builtin_list.lines().map(|line| module_name(Path::new(line))).collect();
        let mut files = BTreeMap::new();
        collect(dir, Path::new("kernel"), &mut files)?;
        Ok(Self { dir: dir.clone(), release, files, builtin, builtin_list })
    }

    /// The kernel's release, as `uname -r` prints it.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The named modules with everything they need: `depends` and soft dependencies.
    /// Names of built-in modules are fine and add nothing.
    ///
    /// # Errors
    /// Names the modules that this kernel does not have.
    pub fn closure(&self, names: &[&str]) -> Result<ModuleSet> {
        let mut modules: BTreeMap<String, Module> = BTreeMap::new();
        let mut missing = Vec::new();
        let mut todo: Vec<String> = names.iter().map(|name| name.replace('-', "_")).collect();
        while let Some(name) = todo.pop() {
            if modules.contains_key(&name) || self.builtin.contains(&name) {
                continue;
            }
            let Some(file) = self.files.get(&name) else {
                missing.push(name);
                continue;
            };
            let module = self.read(&name, file)?;
            todo.extend(module.depends.iter().cloned());
            // A soft dependency that this kernel was built without is no error.
            todo.extend(softdep_names(&module).filter(|soft| self.files.contains_key(soft)));
            modules.insert(name, module);
        }
        if !missing.is_empty() {
            bail!("kernel {} has no module {}", self.release, missing.join(", "));
        }
        let release = self.release.clone();
        Ok(ModuleSet { release, modules, builtin_list: self.builtin_list.clone() })
    }

    fn read(&self, name: &str, file: &Path) -> Result<Module> {
        let source = self.dir.join(file);
        let packed =
            std::fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let content = if file.extension().is_some_and(|extension| extension == "xz") {
            let mut content = Vec::new();
            let mut reader = lzma_rust2::XzReader::new(packed.as_slice(), true);
            std::io::Read::read_to_end(&mut reader, &mut content)
                .with_context(|| format!("cannot decompress {}", source.display()))?;
            content
        } else {
            packed
        };
        let path = file.to_string_lossy();
        let path = path.strip_suffix(".xz").unwrap_or(&path).to_owned();
        let info = modinfo(&content).with_context(|| format!("{} is damaged", source.display()))?;
        let values = |key: &str| -> Vec<String> {
            info.iter().filter(|(k, _)| k == key).map(|(_, value)| value.clone()).collect()
        };
        let depends = values("depends")
            .iter()
            .flat_map(|list| list.split(','))
            .filter(|name| !name.is_empty())
            .map(|name| name.replace('-', "_"))
            .collect();
        let (aliases, softdeps) = (values("alias"), values("softdep"));
        Ok(Module { name: name.to_owned(), path, content, depends, aliases, softdeps })
    }
}

impl ModuleSet {
    /// How many modules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// The modules by name.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// Every file, by its path from the root: the modules, and `modules.dep`, `modules.alias`,
    /// `modules.softdep` and `modules.builtin` as text. Sorted.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let base = format!("usr/lib/modules/{}", self.release);
        let mut files: BTreeMap<String, Vec<u8>> = self
            .modules
            .values()
            .map(|module| (format!("{base}/{}", module.path), module.content.clone()))
            .collect();
        let (mut dep, mut alias, mut softdep) = (String::new(), String::new(), String::new());
        for module in self.modules.values() {
            let paths: Vec<&str> =
                self.all_needed(module).into_iter().map(|m| m.path.as_str()).collect();
            let line = format!("{}: {}", module.path, paths.join(" "));
            writeln!(dep, "{}", line.trim_end()).expect("writing to a String cannot fail");
            for pattern in &module.aliases {
                writeln!(alias, "alias {pattern} {}", module.name)
                    .expect("writing to a String cannot fail");
            }
            for soft in &module.softdeps {
                writeln!(softdep, "softdep {} {soft}", module.name)
                    .expect("writing to a String cannot fail");
            }
        }
        files.insert(format!("{base}/modules.dep"), dep.into_bytes());
        files.insert(format!("{base}/modules.alias"), alias.into_bytes());
        files.insert(format!("{base}/modules.softdep"), softdep.into_bytes());
        files.insert(format!("{base}/modules.builtin"), self.builtin_list.clone().into_bytes());
        files
    }

    /// Everything that `module` needs, in modules.dep's order: to be loaded from the last to the
    /// first.
    fn all_needed(&self, module: &Module) -> Vec<&Module> {
        let mut load_order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in &module.depends {
            self.visit(name, &mut seen, &mut load_order);
        }
        load_order.reverse();
        load_order
    }

    fn visit<'a>(
        &'a self,
        name: &str,
        seen: &mut BTreeSet<String>,
        load_order: &mut Vec<&'a Module>,
    ) {
        // What is not in the set is built into the kernel.
        let Some(module) = self.modules.get(name) else { return };
        if !seen.insert(name.to_owned()) {
            return;
        }
        for needed in &module.depends {
            self.visit(needed, seen, load_order);
        }
        load_order.push(module);
    }
}

fn collect(dir: &Path, below: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(dir, &path, files)?;
        } else if entry.file_name().to_string_lossy().contains(".ko") {
            files.insert(module_name(&path), path);
        }
    }
    Ok(())
}

fn module_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split_once(".ko").map_or(&*name, |(stem, _)| stem);
    name.replace('-', "_")
}

fn softdep_names(module: &Module) -> impl Iterator<Item = String> {
    module
        .softdeps
        .iter()
        .flat_map(|line| line.split_whitespace())
        .filter(|word| !word.ends_with(':'))
        .map(|name| name.replace('-', "_"))
}

/// The NUL-separated `key=value` strings of the module's `.modinfo` section.
fn modinfo(content: &[u8]) -> Result<Vec<(String, String)>> {
    let elf = Elf::parse(content).context("it is not an ELF file")?;
    let section = elf
        .section_headers
        .iter()
        .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".modinfo"))
        .and_then(goblin::elf::SectionHeader::file_range)
        .and_then(|range| content.get(range))
        .context("it has no .modinfo section")?;
    Ok(section
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let (key, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, depends: &[&str]) -> (String, Module) {
        let module = Module {
            name: name.to_owned(),
            path: format!("kernel/{name}.ko"),
            content: vec![],
            depends: depends.iter().map(|d| (*d).to_owned()).collect(),
            aliases: vec![format!("pci:{name}*")],
            softdeps: vec![],
        };
        (name.to_owned(), module)
    }

    #[test]
    fn modules_dep_lists_what_to_load_from_last_to_first() {
        let modules = BTreeMap::from([
            module("xfs", &["libcrc32c", "exportfs"]),
            module("libcrc32c", &["crc"]),
            module("crc", &[]),
        ]);
        let set = ModuleSet { release: "6".into(), modules, builtin_list: String::new() };
        let files = set.files();
        let dep = String::from_utf8(files["usr/lib/modules/6/modules.dep"].clone()).unwrap();
        assert!(dep.contains("kernel/xfs.ko: kernel/libcrc32c.ko kernel/crc.ko\n"), "{dep}");
        assert!(dep.contains("kernel/crc.ko:\n"), "{dep}");
        let alias = String::from_utf8(files["usr/lib/modules/6/modules.alias"].clone()).unwrap();
        assert!(alias.contains("alias pci:xfs* xfs\n"), "{alias}");
    }

    #[test]
    fn names_are_taken_from_paths_with_underscores() {
        assert_eq!(module_name(Path::new("kernel/md/dm-verity.ko.xz")), "dm_verity");
    }
}

//! Loads kernel modules by name and by what the hardware says it is (modalias), without a daemon.
use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
};

use crate::sys;

/// Rounds of looking for new hardware that drivers have brought up.
const ROUNDS_MAX: usize = 6;
/// Deepest folder under /sys/devices that is looked into.
const DEPTH_MAX: usize = 16;

/// The modules of the running kernel.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    base: PathBuf,
    /// Module name → its file and those of its dependencies.
    files: HashMap<String, Vec<String>>,
    /// Bus (the text before the first `:` or `*`) → pattern, module name.
    aliases: HashMap<String, Vec<(String, String)>>,
    loaded: HashSet<String>,
    /// Aliases of hardware that were looked up before: with them nothing is new.
    known: HashSet<String>,
}

/// The part of an alias that no pattern leaves open: `pci` of `pci:v000015ADd*`.
fn bus_of(alias: &str) -> &str {
    alias.split([':', '*', '?', '[']).next().unwrap_or(alias)
}

/// `kernel/drivers/net/vmxnet3/vmxnet3.ko.xz` → `vmxnet3`.
fn name_of(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

impl Modules {
    /// Reads `modules.dep` and `modules.alias` of the running kernel.
    pub(crate) fn open() -> Self {
        let base = Path::new("/lib/modules").join(sys::read_line("/proc/sys/kernel/osrelease"));
        let read = |name: &str| fs::read_to_string(base.join(name)).unwrap_or_default();
        let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
        let mut modules = Self::parse(&read("modules.dep"), &read("modules.alias"), &loaded);
        modules.base = base;
        modules
    }

    fn parse(dep: &str, alias: &str, loaded: &str) -> Self {
        let files = dep.lines().filter_map(|line| line.split_once(':')).map(|(file, needs)| {
            // Dependencies come nearest first; they are loaded from the far end.
            let order = needs.split_whitespace().rev().chain([file]).map(str::to_owned).collect();
            (name_of(file), order)
        });
        let mut aliases: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for line in alias.lines() {
            let mut words = line.split(' ');
            if let (Some("alias"), Some(pattern), Some(name)) =
                (words.next(), words.next(), words.next())
            {
                let of_bus = aliases.entry(bus_of(pattern).to_owned()).or_default();
                of_bus.push((pattern.to_owned(), name.to_owned()));
            }
        }
        let loaded = loaded.lines().filter_map(|line| line.split(' ').next());
        Self {
            base: PathBuf::new(),
            files: files.collect(),
            aliases,
            loaded: loaded.map(str::to_owned).collect(),
            known: HashSet::new(),
        }
    }

    /// Loads a module and what it needs. One that is built in or absent is no error; a refusal is
    /// said.
    pub(crate) fn load(&mut self, name: &str) {
        let name = name.replace('-', "_");
        let Some(files) = self.files.get(&name).cloned() else { return };
        for file in files {
            let each = name_of(&file);
            if self.loaded.contains(&each) {
                continue;
            }
            match insert(&self.base.join(&file)) {
                // No such device: the driver looked and found nothing to drive.
                Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => {
                    self.loaded.insert(each);
                }
                Err(error) => sys::say(&format!("module {each}: {error}")),
            }
        }
    }

    /// Loads what drives a device with this modalias.
    fn load_alias(&mut self, alias: &str) {
        for name in self.drivers_of(alias) {
            self.load(&name);
        }
    }

    /// Modules that drive a device with this modalias.
    fn drivers_of(&self, alias: &str) -> Vec<String> {
        let of_bus = self.aliases.get(bus_of(alias)).into_iter().flatten();
        of_bus
            .filter(|(pattern, _)| matches(pattern.as_bytes(), alias.as_bytes()))
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// Loads drivers for all hardware there is, again for what they bring up.
    pub(crate) fn coldplug(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let before = self.loaded.len();
            let mut found = HashSet::new();
            collect_aliases(Path::new("/sys/devices"), &mut found, 0);
            for alias in found {
                if self.known.insert(alias.clone()) {
                    self.load_alias(&alias);
                }
            }
            if self.loaded.len() == before {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Loads what drives devices with these modaliases: `init load-drivers`.
pub(crate) fn load_for(aliases: &[&str]) {
    let mut modules = Modules::open();
    for alias in aliases {
        modules.load_alias(alias);
    }
}

fn insert(path: &Path) -> Result<(), Errno> {
    let file = File::open(path).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?;
    let compressed = path.extension().is_some_and(|ending| ending != "ko");
    let flags = if compressed {
        // MODULE_INIT_COMPRESSED_FILE (linux/module.h): the kernel unpacks it.
        ModuleInitFlags::from_bits_retain(4)
    } else {
        ModuleInitFlags::empty()
    };
    finit_module(&file, CString::default().as_c_str(), flags)
}

fn collect_aliases(folder: &Path, found: &mut HashSet<String>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_aliases(&entry.path(), found, depth + 1),
            Ok(_) if entry.file_name() == "modalias" => {
                let alias = sys::read_line(entry.path());
                if !alias.is_empty() {
                    found.insert(alias);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Shell-style patterns of modules.alias: `*`, `?`, `[a-z]`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return pattern[p..].iter().all(|c| *c == b'*');
        }
        if let Some(next) = matched_one(pattern, p, text[t]) {
            p = next;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, star_t + 1));
        } else {
            return false;
        }
    }
}

/// If the pattern's element at `p` takes `c`: where the next element begins.
fn matched_one(pattern: &[u8], p: usize, c: u8) -> Option<usize> {
    match pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => {
            let end = p + pattern[p..].iter().position(|c| *c == b']')?;
            let mut set = &pattern[p + 1..end];
            let mut inside = false;
            while let [first, rest @ ..] = set {
                if let [b'-', last, rest @ ..] = rest {
                    inside |= (*first..=*last).contains(&c);
                    set = rest;
                } else {
                    inside |= *first == c;
                    set = rest;
                }
            }
            inside.then_some(end + 1)
        }
        plain => (*plain == c).then_some(p + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_before_what_needs_them() {
        let dep = "kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz kernel/crypto/crc-x.ko.xz\n";
        let modules = Modules::parse(dep, "", "crc_x 1 0\n");
        assert_eq!(
            modules.files["xfs"],
            ["kernel/crypto/crc-x.ko.xz", "kernel/lib/libcrc32c.ko.xz", "kernel/fs/xfs/xfs.ko.xz"]
        );
        assert!(modules.loaded.contains("crc_x"));
    }

    #[test]
    fn drivers_are_found_by_the_bus_and_the_pattern() {
        let alias = "alias pci:v000015ADd000007C0sv*sd*bc*sc*i* vmw_pvscsi\n\
                     alias pci:v000015ADd000007B0sv*sd*bc*sc*i* vmxnet3\n\
                     alias acpi*:PNP0C0C:* button\n";
        let modules = Modules::parse("", alias, "");
        assert_eq!(
            modules.drivers_of("pci:v000015ADd000007C0sv000015ADsd0bc01sc07i00"),
            ["vmw_pvscsi"]
        );
        assert_eq!(modules.drivers_of("acpi:PNP0C0C:"), ["button"]);
        assert!(modules.drivers_of("usb:v1").is_empty());
    }

    #[test]
    fn aliases_match_as_the_shell_would() {
        for (pattern, text, is) in [
            (
                "pci:v000015ADd000007C0sv*sd*bc*sc*i*",
                "pci:v000015ADd000007C0sv000015ADsd0bc01sc07i00",
                true,
            ),
            ("pci:v000015ADd000007B0sv*", "pci:v000015ADd000007C0sv1", false),
            ("acpi*:LNXPWRBN:*", "acpi:LNXPWRBN:", true),
            ("input:b*v*p*e*-e*1,*k*74,*", "input:b0019v0000p0001e0000-e0,1,k74,ramlsfw", true),
            (
                "cpu:type:x86,ven*fam*mod*:feature:*00[0-9A]F*",
                "cpu:type:x86,ven0fam6mod1:feature:,007F,",
                true,
            ),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("a*b", "acbd", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), is, "{pattern} {text}");
        }
    }
}

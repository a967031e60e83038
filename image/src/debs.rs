//! Debian packages on disk: a cache of .deb files that is checked by hash, and unpacking without
//! root. Decides what to do when a pinned version has gone from the mirror.
//!
//! Policy for pins. Debian's mirrors keep only the newest version, so a pin rots at each point
//! release. Unless told to be strict ([`Policy::Locked`]) the whole set is then taken from the
//! mirror at its newest, with a warning: packages of one source pin each other by exact version,
//! so a mixed set is never made. A pin whose .deb is in the cache needs no network at all.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::apt::Apt;
use crate::host::run;
use crate::lock::{self, Package};
use crate::progress::Progress;

/// What to do when a pinned version cannot be had any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Take the newest version of the whole set and warn.
    NewestIfGone,
    /// Fail and name the pins that have gone.
    Locked,
}

/// A .deb file that is there and whose hash was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deb {
    /// What it is.
    pub package: Package,
    /// Where it is.
    pub path: PathBuf,
}

/// The cache of packages below one folder, with a private apt to fill it.
#[derive(Debug)]
pub struct Debs {
    dir: PathBuf,
    mirror: Option<String>,
}

impl Debs {
    /// Uses `cache_dir` (made when absent) and the named mirror, or else the machine's own.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(cache_dir: &Path, mirror: Option<String>) -> Result<Self> {
        std::fs::create_dir_all(cache_dir.join("debs"))
            .with_context(|| format!("cannot make {}", cache_dir.display()))?;
        Ok(Self { dir: cache_dir.to_path_buf(), mirror })
    }

    /// The private apt, with an index fetched at some time.
    ///
    /// # Errors
    /// When there is no mirror or its index cannot be fetched.
    pub fn apt(&self, progress: &mut dyn Progress) -> Result<Apt> {
        let apt = Apt::open(&self.dir.join("apt"), self.mirror.as_deref())?;
        if !apt.has_lists() {
            apt.update(progress)?;
        }
        Ok(apt)
    }

    /// The pinned packages, or by `policy` the newest ones, fetched and checked.
    ///
    /// `newest` works out the whole set afresh; it is called only when a pin has gone.
    ///
    /// # Errors
    /// When a package cannot be had; with [`Policy::Locked`] also when a pin has gone.
    pub fn obtain(
        &self,
        pins: &[Package],
        policy: Policy,
        newest: &dyn Fn(&Apt) -> Result<Vec<Package>>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Deb>> {
        if let Some(debs) = self.cached(pins)? {
            return Ok(debs);
        }
        let substitute =
            self.dir.join(format!("substitute-{}.lock", short_hash(&lock::format(pins))));
        if policy == Policy::NewestIfGone
            && let Ok(text) = std::fs::read_to_string(&substitute)
            && let Some(debs) = self.cached(&lock::parse(&text)?)?
        {
            progress.warn("packages.lock names versions that the mirror no longer has; using the newer ones fetched before (`image lock --update` renews the pins)");
            return Ok(debs);
        }
        let gone = self.gone(pins, progress)?;
        if gone.is_empty() {
            return self.fetch(pins, progress);
        }
        let list: Vec<String> = gone.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        let list = list.join(", ");
        if policy == Policy::Locked {
            bail!(
                "the mirror no longer has these pinned packages: {list}; renew the pins with \
                 `cargo run --release -p image -- lock --update`, or build without --locked"
            );
        }
        progress.warn(&format!(
            "the mirror no longer has {list}; taking the newest of every package instead \
             (`cargo run --release -p image -- lock --update` renews the pins)"
        ));
        let packages = newest(&self.apt(progress)?)?;
        let debs = self.fetch(&packages, progress)?;
        std::fs::write(substitute, lock::format(&packages))?;
        Ok(debs)
    }

    /// Fetches these exact packages, those that the cache lacks, and checks every hash.
    ///
    /// # Errors
    /// When one cannot be fetched or its bytes are not those promised.
    pub fn fetch(&self, packages: &[Package], progress: &mut dyn Progress) -> Result<Vec<Deb>> {
        let mut missing = Vec::new();
        for package in packages {
            if !self.has(package)? {
                missing.push(package);
            }
        }
        if !missing.is_empty() {
            // One fetch at a time in a cache; the lock goes with the file.
            let lock = std::fs::File::create(self.dir.join("fetch.lock"))?;
            lock.lock().context("cannot lock the package cache")?;
            progress.step(&format!(
                "packages: fetching {} of {} Debian packages",
                missing.len(),
                packages.len()
            ));
            let incoming = self.dir.join("incoming");
            remove_dir(&incoming)?;
            std::fs::create_dir_all(&incoming)?;
            self.apt(progress)?.download(&missing, &incoming, progress)?;
            for package in missing {
                self.take_in(package, &incoming)?;
            }
            remove_dir(&incoming)?;
        }
        self.cached(packages)?.context("every package was just fetched")
    }

    /// Newest versions of `names`, exactly these and not what they depend on.
    ///
    /// # Errors
    /// Names the packages that the index does not know.
    pub fn newest(apt: &Apt, names: &[&str]) -> Result<Vec<Package>> {
        let offers = apt.offers(names)?;
        let mut packages = Vec::new();
        let mut unknown = Vec::new();
        for name in names {
            match offers.iter().find(|offer| offer.package.name == *name) {
                Some(offer) => packages.push(offer.package.clone()),
                None => unknown.push(*name),
            }
        }
        if !unknown.is_empty() {
            bail!("the mirror has no package {}", unknown.join(", "));
        }
        Ok(packages)
    }

    fn gone<'a>(
        &self,
        pins: &'a [Package],
        progress: &mut dyn Progress,
    ) -> Result<Vec<&'a Package>> {
        let names: Vec<&str> = pins.iter().map(|pin| pin.name.as_str()).collect();
        let missing_from = |apt: &Apt| -> Result<Vec<&'a Package>> {
            let offers = apt.offers(&names)?;
            Ok(pins.iter().filter(|pin| !offers.iter().any(|o| o.package == **pin)).collect())
        };
        // The index on disk may be older than the pins, or than the mirror: then neither says so
        // by itself. It is renewed whenever something has to be fetched.
        let apt = Apt::open(&self.dir.join("apt"), self.mirror.as_deref())?;
        apt.update(progress)?;
        missing_from(&apt)
    }

    fn cached(&self, packages: &[Package]) -> Result<Option<Vec<Deb>>> {
        let mut debs = Vec::new();
        for package in packages {
            if !self.has(package)? {
                return Ok(None);
            }
            debs.push(Deb { package: package.clone(), path: self.path(package) });
        }
        Ok(Some(debs))
    }

    fn has(&self, package: &Package) -> Result<bool> {
        let path = self.path(package);
        Ok(path.exists() && sha256_file(&path)? == package.sha256)
    }

    fn path(&self, package: &Package) -> PathBuf {
        self.dir.join("debs").join(format!("{}_{}.deb", package.name, &package.sha256[..16]))
    }

    fn take_in(&self, package: &Package, incoming: &Path) -> Result<()> {
        let version = package.version.replace(':', "%3a");
        let found = ["amd64", "all"]
            .map(|arch| incoming.join(format!("{}_{version}_{arch}.deb", package.name)))
            .into_iter()
            .find(|path| path.exists())
            .with_context(|| format!("apt did not leave a file for {}", package.name))?;
        let sha256 = sha256_file(&found)?;
        if sha256 != package.sha256 {
            bail!("{} has SHA-256 {sha256}, promised was {}", found.display(), package.sha256);
        }
        std::fs::rename(&found, self.path(package))?;
        Ok(())
    }
}

/// Unpacks packages into `tree`, without root and without running their scripts. Does nothing when
/// the very same set is there already.
///
/// The folder has Debian's merged /usr: `bin`, `sbin`, `lib`, `lib64` are links into `usr`.
///
/// # Errors
/// When dpkg-deb fails or the disk is full.
pub fn unpack(debs: &[Deb], tree: &Path, progress: &mut dyn Progress) -> Result<()> {
    let packages: Vec<Package> = debs.iter().map(|deb| deb.package.clone()).collect();
    let stamp_file = tree.with_extension("stamp");
    let stamp = lock::format(&packages);
    if tree.exists() && std::fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(());
    }
    progress.step(&format!("packages: unpacking {}", debs.len()));
    if stamp_file.exists() {
        std::fs::remove_file(&stamp_file)?;
    }
    remove_dir(tree)?;
    std::fs::create_dir_all(tree.join("usr"))?;
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::fs::create_dir(tree.join("usr").join(name))?;
        std::os::unix::fs::symlink(format!("usr/{name}"), tree.join(name))?;
    }
    for deb in debs {
        run(Command::new("dpkg-deb").arg("--extract").arg(&deb.path).arg(tree))
            .with_context(|| format!("cannot unpack {}", deb.path.display()))?;
    }
    std::fs::write(stamp_file, stamp)?;
    Ok(())
}

/// SHA-256 of a file, lower-case hex.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file =
        std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = std::io::Read::read(&mut file, &mut buffer)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..count]);
    }
}

/// Lower-case hex.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes a folder and all in it; its absence is fine.
pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", dir.display())),
    }
}

fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;

    /// A mirror that cannot be reached: any use of the network fails the test.
    const NO_MIRROR: &str = "http://127.0.0.1:1/debian";

    fn toy(store: &Debs, dir: &Path, name: &str) -> Package {
        let build = dir.join(name);
        std::fs::create_dir_all(build.join("DEBIAN")).expect("writable");
        std::fs::create_dir_all(build.join("usr/share")).expect("writable");
        std::fs::write(build.join("usr/share").join(name), name).expect("writable");
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
        );
        std::fs::write(build.join("DEBIAN/control"), control).expect("writable");
        let deb = dir.join("toy.deb");
        run(Command::new("dpkg-deb").arg("--build").arg(&build).arg(&deb)).expect("dpkg-deb");
        let sha256 = sha256_file(&deb).expect("it was built");
        let package = Package { name: name.to_owned(), version: "1".into(), sha256 };
        std::fs::rename(deb, store.path(&package)).expect("same file system");
        package
    }

    fn never(_: &Apt) -> Result<Vec<Package>> {
        bail!("nothing has gone")
    }

    #[test]
    fn packages_in_the_cache_need_no_network() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store =
            Debs::open(&dir.path().join("cache"), Some(NO_MIRROR.into())).expect("writable");
        let pins = [toy(&store, dir.path(), "one"), toy(&store, dir.path(), "two")];
        let debs = store.obtain(&pins, Policy::Locked, &never, &mut Quiet).expect("both are there");
        assert_eq!(debs.len(), 2);
    }

    #[test]
    fn a_damaged_package_in_the_cache_is_not_used() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store =
            Debs::open(&dir.path().join("cache"), Some(NO_MIRROR.into())).expect("writable");
        let pin = toy(&store, dir.path(), "one");
        std::fs::write(store.path(&pin), "damaged").expect("writable");
        assert!(store.obtain(&[pin], Policy::Locked, &never, &mut Quiet).is_err());
    }

    #[test]
    fn a_tree_follows_its_list_of_packages() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store =
            Debs::open(&dir.path().join("cache"), Some(NO_MIRROR.into())).expect("writable");
        let pins = [toy(&store, dir.path(), "one"), toy(&store, dir.path(), "two")];
        let debs = store.obtain(&pins, Policy::Locked, &never, &mut Quiet).expect("both are there");
        let tree = dir.path().join("tree");
        unpack(&debs, &tree, &mut Quiet).expect("well-formed packages");
        assert!(tree.join("usr/share/one").exists() && tree.join("usr/share/two").exists());
        assert_eq!(std::fs::read_link(tree.join("lib")).expect("a link"), Path::new("usr/lib"));
        // The same list leaves the tree alone; another one makes it anew.
        std::fs::write(tree.join("mark"), "").expect("writable");
        unpack(&debs, &tree, &mut Quiet).expect("well-formed packages");
        assert!(tree.join("mark").exists());
        unpack(&debs[..1], &tree, &mut Quiet).expect("well-formed packages");
        assert!(!tree.join("mark").exists() && !tree.join("usr/share/two").exists());
    }
}

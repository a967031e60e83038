//! What `cargo appliance` keeps between runs in `out/appliance`: disks, bucket, ports, and which
//! image the boot disk was made from.
use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use image::plan::{Role, partition};

use crate::{
    appliance_vm::{new_boot_disk, new_cache_disk},
    net::free_port,
    seed,
};

/// The folder and the host's ports, which are chosen once: the appliance remembers its S3 endpoint.
#[derive(Clone, Debug)]
pub struct RunState {
    folder: PathBuf,
    /// The S3 store's.
    pub s3_port: u16,
    /// Leads to the guest's 2049.
    pub nfs_port: u16,
    /// Leads to the guest's 111.
    pub portmapper_port: u16,
}

/// Makes this process the only one that uses the state in `folder`, until the file is dropped. The lock
/// stands beside the folder, so that the folder can be removed under it.
///
/// # Errors
/// When another process has it.
pub fn lock(folder: &Path) -> Result<File> {
    let path = folder.with_extension("lock");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("it runs already with the state in {}: stop it there first", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

impl RunState {
    /// Opens the state in `folder`, or makes it anew.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.join("ports.toml");
        if !file.exists() {
            let mut ports = toml::Table::new();
            for (name, preferred) in [("s3", 9000), ("nfs", 12049), ("portmapper", 10111)] {
                ports.insert(name.to_owned(), i64::from(free_port(preferred)?).into());
            }
            fs::write(&file, toml::to_string(&ports)?)?;
        }
        let ports: toml::Table = toml::from_str(&fs::read_to_string(&file)?)
            .with_context(|| format!("{}: start afresh with --fresh", file.display()))?;
        let port = |name: &str| {
            let number = ports.get(name).and_then(toml::Value::as_integer);
            let number = number.and_then(|n| u16::try_from(n).ok());
            number.with_context(|| format!("{} has no port {name}; use --fresh", file.display()))
        };
        Ok(Self {
            folder: folder.to_owned(),
            s3_port: port("s3")?,
            nfs_port: port("nfs")?,
            portmapper_port: port("portmapper")?,
        })
    }

    /// Where all of it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that the S3 store keeps its objects in.
    pub fn bucket_folder(&self) -> PathBuf {
        self.folder.join("s3")
    }

    /// The boot disk.
    pub fn boot_disk(&self) -> PathBuf {
        self.folder.join("boot.img")
    }

    /// The cache disk.
    pub fn cache_disk(&self) -> PathBuf {
        self.folder.join("cache.img")
    }

    /// The seed document.
    pub fn seed(&self) -> PathBuf {
        self.folder.join("seed.toml")
    }

    /// Sockets and logs of the running machine.
    pub fn run_folder(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Brings the disks up to date with an image. A new image replaces the boot disk; settings and
    /// journal (the config partition) and the cache disk stay. Returns what was done, in words.
    ///
    /// # Errors
    /// When a disk cannot be written.
    pub fn prepare(&self, image: &Path, image_sha256: &str) -> Result<&'static str> {
        fs::write(self.seed(), seed::document(self.s3_port)?)?;
        if !self.cache_disk().exists() {
            new_cache_disk(&self.cache_disk())?;
        }
        let made_from = self.folder.join("boot.img.sha256");
        let old = fs::read_to_string(&made_from).unwrap_or_default();
        if old == image_sha256 && self.boot_disk().exists() {
            return Ok("disks: kept from the last run");
        }
        let config = match self.boot_disk().exists() {
            true => Some(read_config(&self.boot_disk())?),
            false => None,
        };
        // Complete before it takes the old one's place: until then the old one holds the only copy of
        // the settings, without which nobody knows the cache disk.
        let fresh = self.folder.join("boot.img.new");
        new_boot_disk(image, &fresh)?;
        if let Some(config) = &config {
            write_config(&fresh, config)?;
        }
        fs::rename(&fresh, self.boot_disk())?;
        fs::write(made_from, image_sha256)?;
        Ok(match config {
            Some(_) => "disks: new boot disk, settings and cache disk kept from the last run",
            None => "disks: new boot disk, blank 150 GB cache disk (sparse)",
        })
    }
}

fn read_config(disk: &Path) -> Result<Vec<u8>> {
    let plan = partition(Role::Config);
    let mut file = File::open(disk)?;
    file.seek(SeekFrom::Start(plan.start))?;
    let mut content = Vec::new();
    file.take(plan.size()).read_to_end(&mut content)?;
    Ok(content)
}

fn write_config(disk: &Path, content: &[u8]) -> Result<()> {
    let mut file = File::options().write(true).open(disk)?;
    file.seek(SeekFrom::Start(partition(Role::Config).start))?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_never_share_a_state() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = lock(&state).unwrap();
        assert!(lock(&state).unwrap_err().to_string().contains("runs already"));
        drop(first);
        lock(&state).unwrap();
    }

    #[test]
    fn a_new_image_keeps_the_settings_and_the_cache_disk() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(image::plan::disk_bytes()).unwrap();
        let state = RunState::open(&folder.path().join("state")).unwrap();
        state.prepare(&image, "one").unwrap();
        write_config(&state.boot_disk(), b"settings").unwrap();
        fs::write(state.cache_disk(), "dirty data").unwrap();

        assert_eq!(state.prepare(&image, "one").unwrap(), "disks: kept from the last run");
        let did = state.prepare(&image, "two").unwrap();
        assert!(did.contains("settings and cache disk kept"), "{did}");
        assert!(read_config(&state.boot_disk()).unwrap().starts_with(b"settings"));
        assert_eq!(fs::read(state.cache_disk()).unwrap(), b"dirty data");

        fs::write(folder.path().join("state/boot.img.new"), "of a run that was cut off").unwrap();
        state.prepare(&image, "three").unwrap();
        assert!(read_config(&state.boot_disk()).unwrap().starts_with(b"settings"));

        let again = RunState::open(&folder.path().join("state")).unwrap();
        assert_eq!(again.s3_port, state.s3_port);
    }
}

//! From disk image to OVA: writes the VMDK beside the OVA, hashes it, then puts the parts together.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::manifest::manifest;
use crate::ova::OvaWriter;
use crate::ovf::descriptor;
use crate::spec::{DiskFile, GIB, NAME, Spec};
use crate::vmdk;

/// A word on progress each time this much of the disk has been read.
const PROGRESS_BYTES: u64 = 64 << 20;

/// How the empty cache disk is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheDisk {
    /// Declared by capacity alone: what ships. VMware makes the disk at import.
    CapacityOnly,
    /// Carried as a small file: a twin for importers and checkers that refuse a disk without one
    /// (virt-v2v).
    File,
}

/// What to pack, and where to.
#[derive(Debug, Clone)]
pub struct PackInputs {
    /// The disk image.
    pub image: PathBuf,
    /// The OVA to write; it appears when complete.
    pub ova: PathBuf,
    /// The virtual machine.
    pub spec: Spec,
    /// How the cache disk is given.
    pub cache_disk: CacheDisk,
}

/// What was packed.
#[derive(Debug, Clone)]
pub struct PackReport {
    /// The OVA.
    pub ova: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, hex.
    pub sha256: String,
    /// The descriptor's text.
    pub ovf: String,
}

/// Packs the image. `progress` gets a line for each step.
///
/// # Errors
/// When the image cannot be read or the OVA not written.
pub fn pack(inputs: &PackInputs, progress: &mut dyn FnMut(&str)) -> Result<PackReport> {
    let capacity = std::fs::metadata(&inputs.image)
        .with_context(|| format!("no disk image at {}: build it first", inputs.image.display()))?
        .len();
    let folder =
        inputs.ova.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut parts = Parts { folder, paths: Vec::new() };

    progress(&format!("ova: compressing the disk ({} MiB)", capacity >> 20));
    let mut image = BufReader::new(File::open(&inputs.image)?);
    let system = parts.disk(&mut image, capacity, &format!("{NAME}-disk1.vmdk"), progress)?;
    let cache = match inputs.cache_disk {
        CacheDisk::CapacityOnly => None,
        CacheDisk::File => {
            let capacity = inputs.spec.cache_gib * GIB;
            let name = format!("{NAME}-disk2.vmdk");
            Some(parts.disk(&mut io::empty(), capacity, &name, progress)?)
        }
    };
    let ovf = descriptor(&inputs.spec, &system, cache.as_ref());
    let ovf_name = format!("{NAME}.ovf");
    let ovf_sha256 = hex(&Sha256::digest(&ovf));
    let disks: Vec<&DiskFile> = std::iter::once(&system).chain(&cache).collect();
    let lines = std::iter::once((ovf_name.as_str(), ovf_sha256.as_str()))
        .chain(disks.iter().map(|disk| (disk.name.as_str(), disk.sha256.as_str())));
    let manifest = manifest(lines);

    progress("ova: writing the archive");
    let partial = inputs.ova.with_extension("ova.partial");
    let file =
        File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    // The descriptor first, then the manifest, then the disks in the order of References.
    let mut ova = OvaWriter::new(Hashing::new(BufWriter::new(file)));
    for (name, text) in [(ovf_name.as_str(), &ovf), (&format!("{NAME}.mf"), &manifest)] {
        ova.append(name, u64::try_from(text.len())?, &mut text.as_bytes())?;
    }
    for disk in disks {
        let mut content = File::open(parts.path(&disk.name))?;
        ova.append(&disk.name, disk.size, &mut content)?;
    }
    let (mut file, size, sha256) = ova.finish()?.finish();
    file.flush()?;
    std::fs::rename(&partial, &inputs.ova)?;
    let report = PackReport { ova: inputs.ova.clone(), size, sha256, ovf };
    progress(&format!(
        "ova: {}: {} MiB, SHA-256 {}",
        report.ova.display(),
        size >> 20,
        report.sha256
    ));
    Ok(report)
}

/// Intermediate files, removed when done.
struct Parts<'a> {
    folder: &'a Path,
    paths: Vec<PathBuf>,
}

impl Parts<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!(".{name}.part"))
    }

    fn disk(
        &mut self,
        content: &mut dyn Read,
        capacity: u64,
        name: &str,
        progress: &mut dyn FnMut(&str),
    ) -> Result<DiskFile> {
        let path = self.path(name);
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        self.paths.push(path);
        let mut out = Hashing::new(BufWriter::new(file));
        let mut next = PROGRESS_BYTES;
        vmdk::write(content, capacity, name, &mut out, &mut |read| {
            if read >= next {
                next += PROGRESS_BYTES;
                progress(&format!("ova: {} of {} MiB", read >> 20, capacity >> 20));
            }
        })?;
        let (mut file, size, sha256) = out.finish();
        file.flush()?;
        Ok(DiskFile { name: name.to_owned(), capacity, size, sha256 })
    }
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            if let Err(error) = std::fs::remove_file(path) {
                // The next run overwrites it; an error here must not hide the one that led here.
                eprintln!("ova: cannot remove {}: {error}", path.display());
            }
        }
    }
}

/// Hashes and counts what passes through.
struct Hashing<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(out: W) -> Self {
        Self { out, hash: Sha256::new(), size: 0 }
    }

    fn finish(self) -> (W, u64, String) {
        (self.out, self.size, hex(&self.hash.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += u64::try_from(count).expect("a usize has at most 64 bits here");
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

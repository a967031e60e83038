//! The update file: an uncompressed tar of `manifest.json`, `manifest.sig`, `root.img` (squashfs and
//! verity tree) and `tidegate.efi` (the unified kernel image), in this order.
//!
//! The manifest announces every byte that follows it, by the SHA-256 of each mebibyte, so that a reader
//! checks a block before it writes it. The signature is Ed25519 over [`MESSAGE_PREFIX`] and the
//! manifest. What BIOS machines boot is in the kernel image, at the places that the manifest names.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::debs::hex;

/// What is signed besides the manifest, before it: the signature is for nothing else.
pub const MESSAGE_PREFIX: &[u8] = b"tidegate update 1\n";
/// Every digest is one of so many bytes; the last one of a member of fewer.
pub const BLOCK_BYTES: usize = 1 << 20;
/// The members, in their order.
pub const MANIFEST: &str = "manifest.json";
/// See [`MANIFEST`]. 128 hexadecimal digits and a line feed; zeros as long as nobody has signed.
pub const SIGNATURE: &str = "manifest.sig";
/// See [`MANIFEST`].
pub const ROOT: &str = "root.img";
/// See [`MANIFEST`].
pub const EFI: &str = "tidegate.efi";
const SIGNATURE_BYTES: usize = 129;
/// A manifest of a slot's and an ESP's full size is below.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;

/// What an update is made of.
#[derive(Debug, Clone)]
pub struct UpdateParts<'a> {
    /// Version that it brings.
    pub version: &'a str,
    /// The oldest version that may take its place.
    pub oldest: &'a str,
    /// Root file system with its verity tree, as on the partition.
    pub root: &'a [u8],
    /// Unified kernel image.
    pub efi: &'a [u8],
    /// Where in it the kernel is.
    pub kernel: Range<usize>,
    /// Where in it the initramfs is.
    pub initrd: Range<usize>,
    /// Kernel command line, for GRUB.
    pub cmdline: &'a str,
}

#[derive(Serialize)]
struct Manifest<'a> {
    format: u32,
    version: &'a str,
    oldest: &'a str,
    root: Member,
    efi: Member,
    kernel: Part,
    initrd: Part,
    cmdline: &'a str,
}

#[derive(Serialize)]
struct Member {
    size: usize,
    /// SHA-256 of each block, hex.
    blocks: Vec<String>,
}

#[derive(Serialize)]
struct Part {
    offset: usize,
    size: usize,
}

impl Member {
    fn of(bytes: &[u8]) -> Self {
        let blocks = bytes.chunks(BLOCK_BYTES).map(|block| hex(&Sha256::digest(block))).collect();
        Self { size: bytes.len(), blocks }
    }
}

impl From<&Range<usize>> for Part {
    fn from(range: &Range<usize>) -> Self {
        Self { offset: range.start, size: range.len() }
    }
}

/// Writes an update, not signed. It appears under its name only when complete.
///
/// # Errors
/// The disk is full.
pub fn write(path: &Path, parts: &UpdateParts<'_>, epoch: u32) -> Result<()> {
    let partial = path.with_extension("update.partial");
    let mut file =
        File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    archive(&mut file, parts, epoch).context("cannot write the update")?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    Ok(())
}

/// An update's bytes, not signed.
///
/// # Errors
/// Those of `to`.
pub fn archive(to: impl Write, parts: &UpdateParts<'_>, epoch: u32) -> Result<()> {
    let manifest = Manifest {
        format: 1,
        version: parts.version,
        oldest: parts.oldest,
        root: Member::of(parts.root),
        efi: Member::of(parts.efi),
        kernel: Part::from(&parts.kernel),
        initrd: Part::from(&parts.initrd),
        cmdline: parts.cmdline,
    };
    let manifest = serde_json::to_string_pretty(&manifest)? + "\n";
    let unsigned = format!("{}\n", "0".repeat(SIGNATURE_BYTES - 1));
    let mut archive = tar::Builder::new(to);
    for (name, content) in [
        (MANIFEST, manifest.as_bytes()),
        (SIGNATURE, unsigned.as_bytes()),
        (ROOT, parts.root),
        (EFI, parts.efi),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(content.len())?);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(u64::from(epoch));
        archive.append_data(&mut header, name, content)?;
    }
    archive.finish()?;
    Ok(())
}

/// An update's manifest and where its signature is in the file.
fn open(file: &File) -> Result<(Vec<u8>, u64)> {
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries()?;
    let mut next = |name: &str| -> Result<(Vec<u8>, u64)> {
        let mut entry = entries.next().with_context(|| format!("there is no {name}"))??;
        ensure!(entry.path()?.as_ref() == Path::new(name), "{name} is not where it belongs");
        ensure!(entry.size() <= MANIFEST_BYTES_MAX, "{name} has {} bytes", entry.size());
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        Ok((content, entry.raw_file_position()))
    };
    let (manifest, _) = next(MANIFEST)?;
    let (signature, at) = next(SIGNATURE)?;
    ensure!(signature.len() == SIGNATURE_BYTES, "{SIGNATURE} has {} bytes", signature.len());
    Ok((manifest, at))
}

/// The bytes that a key has to sign.
///
/// # Errors
/// The file is no update.
pub fn message(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (manifest, _) = open(&file).with_context(|| format!("{} is no update", path.display()))?;
    Ok([MESSAGE_PREFIX, &manifest].concat())
}

/// Signs an update with a secret key.
///
/// # Errors
/// The file is no update, or cannot be written.
pub fn sign(path: &Path, key: &SigningKey) -> Result<()> {
    let signature = key.sign(&message(path)?);
    put_signature(path, &signature, &key.verifying_key())
}

/// Puts a signature that was made elsewhere into an update, if it is right.
///
/// # Errors
/// It is not right; the file is no update, or cannot be written.
pub fn put_signature(path: &Path, signature: &Signature, key: &VerifyingKey) -> Result<()> {
    let message = message(path)?;
    key.verify_strict(&message, signature).context("the signature is not one of this update")?;
    let mut file = File::options().read(true).write(true).open(path)?;
    let (_, at) = open(&file)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(format!("{}\n", hex(&signature.to_bytes())).as_bytes())?;
    file.sync_all()?;
    Ok(())
}

/// A new secret key.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_key() -> Result<SigningKey> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(SigningKey::from_bytes(&secret))
}

/// A secret key as [`key_text`] has it.
///
/// # Errors
/// It is none.
pub fn parse_key(text: &str) -> Result<SigningKey> {
    Ok(SigningKey::from_bytes(&unhex(text.trim()).context("a secret key")?))
}

/// A secret key as text: 64 hexadecimal digits.
#[must_use]
pub fn key_text(key: &SigningKey) -> String {
    hex(&key.to_bytes()) + "\n"
}

/// A public key as a line of a file of public keys.
#[must_use]
pub fn public_text(key: &SigningKey) -> String {
    hex(key.verifying_key().as_bytes()) + "\n"
}

/// A signature as hexadecimal text.
///
/// # Errors
/// It is none.
pub fn parse_signature(text: &str) -> Result<Signature> {
    Ok(Signature::from_bytes(&unhex(text.trim()).context("a signature")?))
}

/// Looks through a file of public keys: one a line, `#` before what is for people.
///
/// # Errors
/// A line is no key.
pub fn check_keys(text: &str) -> Result<Vec<VerifyingKey>> {
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let bytes = unhex(line).context("a public key")?;
        let key = VerifyingKey::from_bytes(&bytes).context("this is no public key")?;
        ensure!(!key.is_weak(), "{line} is a weak key");
        Ok(key)
    });
    keys.collect()
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("{} hexadecimal digits are expected", 2 * N);
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn efi() -> Vec<u8> {
        (0..5000_usize).map(|i| u8::try_from(i % 256).expect("below 256")).collect()
    }

    fn written(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("tidegate.update");
        let root = vec![3; BLOCK_BYTES + 4096];
        let parts = UpdateParts {
            version: "1.4.0",
            oldest: "1.2.0",
            root: &root,
            efi: &efi(),
            kernel: 4000..5000,
            initrd: 512..1000,
            cmdline: "tidegate.verity=1:ab:cd quiet",
        };
        write(&path, &parts, 1_735_689_600).expect("there is room");
        path
    }

    #[test]
    fn the_manifest_is_as_it_was() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let message = message(&written(dir.path())).expect("it is one");
        let manifest = message.strip_prefix(MESSAGE_PREFIX).expect("the prefix");
        let expected = include_str!("../tests/golden/update-manifest.json");
        assert_eq!(String::from_utf8_lossy(manifest), expected);
    }

    #[test]
    fn members_come_in_their_order_and_the_same_parts_give_the_same_bytes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = written(dir.path());
        let bytes = std::fs::read(&path).expect("readable");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> = archive
            .entries()
            .expect("a tar")
            .map(|entry| entry.expect("whole").path().expect("named").display().to_string())
            .collect();
        assert_eq!(names, [MANIFEST, SIGNATURE, ROOT, EFI]);
        assert!(bytes == std::fs::read(written(dir.path())).expect("readable"));
    }

    #[test]
    fn a_signature_changes_nothing_but_its_own_bytes_and_a_wrong_one_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = written(dir.path());
        let before = std::fs::read(&path).expect("readable");
        let key = SigningKey::from_bytes(&[1; 32]);
        sign(&path, &key).expect("it is an update");
        let after = std::fs::read(&path).expect("readable");
        let differ = |(at, (a, b)): (usize, (&u8, &u8))| (a != b).then_some(at);
        let changed: Vec<usize> =
            before.iter().zip(&after).enumerate().filter_map(differ).collect();
        let (first, last) = (changed[0], changed[changed.len() - 1]);
        assert!(last - first < SIGNATURE_BYTES && before.len() == after.len());
        let text = String::from_utf8_lossy(&after[first..=last]).into_owned();
        let whole = after[..first].iter().rev().take_while(|byte| **byte == b'0').count();
        let signature = parse_signature(&format!("{}{text}", "0".repeat(whole)));
        let signature = signature.expect("128 digits");
        let other = SigningKey::from_bytes(&[2; 32]);
        put_signature(&path, &signature, &key.verifying_key()).expect("it is right");
        let refused = put_signature(&path, &signature, &other.verifying_key());
        assert!(refused.expect_err("another key").to_string().contains("not one of this update"));
    }

    #[test]
    fn keys_are_text_and_nonsense_is_none() {
        let key = new_key().expect("random bytes");
        assert_eq!(parse_key(&key_text(&key)).expect("its own text"), key);
        let public = format!("# ours\n\n{}", public_text(&key));
        assert_eq!(check_keys(&public).expect("a key"), [key.verifying_key()]);
        let weak = format!("01{}", "00".repeat(31));
        for nonsense in ["ab", &"x".repeat(64), &weak] {
            assert!(check_keys(nonsense).is_err(), "{nonsense}");
        }
        assert!(check_keys(UPDATE_KEYS_OF_THE_PROJECT).expect("they are keys").len() <= 2);
    }

    const UPDATE_KEYS_OF_THE_PROJECT: &str = include_str!("../update-keys");

    #[test]
    fn what_is_no_update_is_not_signed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("x.update");
        std::fs::write(&path, vec![0; 4096]).expect("writable");
        assert!(sign(&path, &SigningKey::from_bytes(&[1; 32])).is_err());
    }
}

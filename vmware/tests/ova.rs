//! Goal: VMware and its validators take the OVA. Method: the descriptor against a golden file, the
//! archive against its own manifest, and the validators that are at hand.
//!
//! `TIDEGATE_OVF_SCHEMA` names a folder with `all.xsd` (DMTF's and VMware's schemas);
//! `TIDEGATE_UPDATE_GOLDEN=1` rewrites the golden file.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use vmware::spec::{DiskFile, Spec};
use vmware::{CacheDisk, PackInputs, descriptor, pack};

const MIB: usize = 1 << 20;

fn disk_file() -> DiskFile {
    DiskFile {
        name: "tidegate-disk1.vmdk".into(),
        capacity: 288_358_400,
        size: 31_457_280,
        sha256: "00".repeat(32),
    }
}

fn packed(dir: &Path, cache_disk: CacheDisk) -> PathBuf {
    let image = dir.join("disk.img");
    let mut disk = vec![0; 8 * MIB];
    disk[5 * MIB..5 * MIB + 9].copy_from_slice(b"some data");
    std::fs::write(&image, disk).expect("a temporary folder is writable");
    let ova = dir.join(format!("{cache_disk:?}.ova"));
    let inputs = PackInputs { image, ova, spec: Spec::default(), cache_disk };
    pack(&inputs, &mut |_| {}).expect("the image is there").ova
}

fn members(ova: &Path) -> Vec<(String, Vec<u8>)> {
    let mut members = Vec::new();
    vmware::ova::read(std::fs::File::open(ova).expect("the OVA was packed"), |name, _, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        members.push((name.to_owned(), bytes));
        Ok(())
    })
    .expect("the OVA is well-formed");
    members
}

#[test]
fn the_descriptor_is_the_golden_one() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tidegate.ovf");
    let found = descriptor(&Spec::default(), &disk_file(), None);
    if std::env::var_os("TIDEGATE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&golden).unwrap());
}

#[test]
fn the_cache_disk_is_declared_by_capacity_alone() {
    let ovf = descriptor(&Spec::default(), &disk_file(), None);
    let line = ovf.lines().find(|line| line.contains("diskId=\"cache\"")).unwrap();
    assert!(line.contains("ovf:capacity=\"150\"") && line.contains("byte * 2^30"), "{line}");
    assert!(!line.contains("fileRef"), "{line}");
}

#[test]
fn no_placeholder_is_left() {
    assert!(!descriptor(&Spec::default(), &disk_file(), Some(&disk_file())).contains("{{"));
}

#[test]
fn the_descriptor_comes_first_and_the_manifest_fits() {
    let dir = tempfile::tempdir().unwrap();
    let members = members(&packed(dir.path(), CacheDisk::CapacityOnly));
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["tidegate.ovf", "tidegate.mf", "tidegate-disk1.vmdk"]);
    let manifest = String::from_utf8(members[1].1.clone()).unwrap();
    for (name, content) in [&members[0], &members[2]] {
        let hash: String =
            Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(manifest.contains(&format!("SHA256({name})= {hash}\n")), "{manifest}");
    }
    assert_eq!(manifest.lines().count(), 2);
}

#[test]
fn the_disk_in_the_ova_is_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let members = members(&packed(dir.path(), CacheDisk::CapacityOnly));
    let mut raw = Cursor::new(Vec::new());
    vmware::vmdk_reader::unpack(&mut members[2].1.as_slice(), &mut raw).unwrap();
    let image = std::fs::read(dir.path().join("disk.img")).unwrap();
    let raw = raw.into_inner();
    assert!(image[..raw.len()] == raw[..] && image[raw.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn the_same_image_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let first = std::fs::read(packed(dir.path(), CacheDisk::CapacityOnly)).unwrap();
    assert!(first == std::fs::read(packed(dir.path(), CacheDisk::CapacityOnly)).unwrap());
}

#[test]
fn nothing_but_image_and_ova_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path(), CacheDisk::File);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn the_schemas_of_dmtf_and_vmware_accept_both_descriptors() {
    let Some(schemas) = std::env::var_os("TIDEGATE_OVF_SCHEMA") else {
        eprintln!("skipped: TIDEGATE_OVF_SCHEMA names no folder with all.xsd");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for (name, cache) in [("ships.ovf", None), ("twin.ovf", Some(disk_file()))] {
        let file = dir.path().join(name);
        std::fs::write(&file, descriptor(&Spec::default(), &disk_file(), cache.as_ref())).unwrap();
        let output = Command::new("xmllint")
            .args(["--nonet", "--noout", "--schema"])
            .arg(Path::new(&schemas).join("all.xsd"))
            .arg(&file)
            .output()
            .expect("xmllint (package libxml2-utils) is needed where TIDEGATE_OVF_SCHEMA is set");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// virt-v2v refuses a disk without a file, so it reads the twin.
#[test]
fn virt_v2v_reads_the_twin() {
    if Command::new("virt-v2v").arg("--version").output().is_err() {
        eprintln!("skipped: virt-v2v is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("virt-v2v")
        .args(["-i", "ova"])
        .arg(packed(dir.path(), CacheDisk::File))
        .arg("--print-source")
        .env("LIBGUESTFS_BACKEND", "direct")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for expected in ["tidegate", "uefi", "vmxnet3", "memory: 2147483648"] {
        assert!(said.to_lowercase().contains(expected), "{expected} is not in:\n{said}");
    }
}

//! Hashes the recipe: every source file that decides what the image holds. The hash is part of the
//! image's stamp, so that a changed recipe rebuilds the image and an unchanged one does not.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn main() -> std::io::Result<()> {
    let mut files: Vec<PathBuf> = vec![PathBuf::from("packages.lock")];
    for entry in std::fs::read_dir("src")? {
        files.push(entry?.path());
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update(content(file)?);
    }
    println!("cargo::rerun-if-changed=src");
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=IMAGE_RECIPE_SHA256={hex}");
    Ok(())
}

fn content(file: &Path) -> std::io::Result<Vec<u8>> {
    if file.is_dir() { Ok(Vec::new()) } else { std::fs::read(file) }
}

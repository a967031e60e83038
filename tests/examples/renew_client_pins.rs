//! Writes `client-packages.lock` anew: the newest versions that this machine's mirror has.
//! `cargo run --release -p e2e --example renew_client_pins`
use anyhow::Result;
use e2e::{client_image, workspace::Workspace};
use image::{PrintProgress, debs::Debs, lock};

fn main() -> Result<()> {
    let workspace = Workspace::find();
    let mut progress = PrintProgress::new();
    let apt = Debs::open(&workspace.package_cache(), None)?.apt(&mut progress)?;
    apt.update(&mut progress)?;
    let pins = client_image::newest(&apt)?;
    let header = "# Debian packages of the tests' NFS client: name, version, SHA-256 of the .deb.\n\
                  # Written by `cargo run --release -p e2e --example renew_client_pins`.\n";
    let lines: String = lock::format(&pins)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let file = workspace.root().join("tests/client-packages.lock");
    std::fs::write(file, format!("{header}{lines}"))?;
    Ok(())
}

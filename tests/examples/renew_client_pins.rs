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
    std::fs::write(workspace.root().join("tests/client-packages.lock"), lock::format(&pins))?;
    Ok(())
}

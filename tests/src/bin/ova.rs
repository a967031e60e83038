//! `cargo ova`: builds the appliance's image and packs it for VMware as `out/tidegate.ova`.
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use e2e::{artifacts, host, workspace::Workspace};
use image::{PrintProgress, Progress};
use vmware::{CacheDisk, PackInputs, spec::Spec};

/// Builds the appliance's image and packs it for VMware as out/tidegate.ova.
#[derive(Debug, Parser)]
#[command(name = "cargo ova")]
struct Arguments {
    /// Pack the image that is there.
    #[arg(long)]
    no_build: bool,
}

fn main() -> ExitCode {
    match pack(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo ova: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn pack(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::find();
    let mut progress = PrintProgress::new();
    if !arguments.no_build {
        host::ensure_packages(&[host::COMPILER, &host::for_image()].concat())?;
        host::ensure_musl_target()?;
        artifacts::image(&workspace, &mut progress)?;
    }
    let inputs = PackInputs {
        image: workspace.image(),
        ova: workspace.ova(),
        spec: Spec::default(),
        cache_disk: CacheDisk::CapacityOnly,
    };
    let report = vmware::pack(&inputs, &mut |line| progress.step(line))?;
    println!("{}  {}", report.sha256, report.ova.display());
    Ok(())
}

//! Command line of the OVA packer: `vmware pack`, `vmware unpack`.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use vmware::spec::Spec;
use vmware::{CacheDisk, PackInputs};

/// Packs the Tidegate disk image for VMware.
#[derive(Debug, Parser)]
#[command(name = "vmware", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Packs a disk image as an OVA.
    Pack {
        /// The disk image.
        #[arg(long, default_value = "out/tidegate.img")]
        image: PathBuf,
        /// The OVA to write.
        #[arg(long, default_value = "out/tidegate.ova")]
        out: PathBuf,
        /// Carry the empty cache disk as a file, for importers that want one.
        #[arg(long)]
        with_cache_file: bool,
    },
    /// Unpacks the system disk of an OVA as a raw image.
    Unpack {
        /// The OVA.
        #[arg(long, default_value = "out/tidegate.ova")]
        ova: PathBuf,
        /// The raw image to write.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Pack { image, out, with_cache_file } => {
            let cache_disk =
                if with_cache_file { CacheDisk::File } else { CacheDisk::CapacityOnly };
            let inputs = PackInputs { image, ova: out, spec: Spec::default(), cache_disk };
            let report = vmware::pack(&inputs, &mut |line| eprintln!("{line}"))?;
            println!("{}  {}", report.sha256, report.ova.display());
        }
        Command::Unpack { ova, out } => {
            let archive =
                File::open(&ova).with_context(|| format!("cannot read {}", ova.display()))?;
            let mut found = false;
            vmware::ova::read(BufReader::new(archive), |name, _size, mut content| {
                if name.ends_with("-disk1.vmdk") {
                    let file = File::create(&out)
                        .with_context(|| format!("cannot write {}", out.display()))?;
                    file.set_len(vmware::vmdk_reader::unpack(
                        &mut content,
                        &mut BufWriter::new(&file),
                    )?)?;
                    found = true;
                }
                Ok(())
            })?;
            ensure!(found, "{} holds no system disk", ova.display());
            println!("{}", out.display());
        }
    }
    Ok(())
}

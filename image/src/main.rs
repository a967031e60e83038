//! Command line of the image builder: `image build`, `image lock --update`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use image::{BuildInputs, PrintProgress};

/// Builds the Tidegate disk image.
#[derive(Debug, Parser)]
#[command(name = "image", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// URI of a Debian mirror, or ARCHIVE_URI,SECURITY_URI; without it the machine's own apt
    /// sources name one.
    #[arg(long, global = true)]
    mirror: Option<String>,
    /// Where packages and intermediate files are kept.
    #[arg(long, global = true, default_value = "out/image")]
    cache: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds the image when anything has changed.
    Build {
        /// The gateway's binary.
        #[arg(long, default_value = "target/release/gateway")]
        gateway: PathBuf,
        /// init's static binary.
        #[arg(long, default_value = "target/x86_64-unknown-linux-musl/init/init")]
        init: PathBuf,
        /// The image to write.
        #[arg(long, default_value = "out/tidegate.img")]
        out: PathBuf,
        /// Fail when a pinned package has gone from the mirror.
        #[arg(long)]
        locked: bool,
    },
    /// Compares the pins with the mirror, or renews them.
    Lock {
        /// Rewrite the lock file with the newest versions.
        #[arg(long)]
        update: bool,
        /// The lock file.
        #[arg(long, default_value = "image/packages.lock")]
        file: PathBuf,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let missing = image::missing_host_packages();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|entry| entry.package).collect();
        bail!("this machine lacks packages: run `apt-get install {}`", names.join(" "));
    }
    let mut progress = PrintProgress::new();
    match arguments.command {
        Command::Build { gateway, init, out, locked } => {
            let (cache_dir, mirror) = (arguments.cache, arguments.mirror);
            let inputs = BuildInputs { gateway, init, out, cache_dir, mirror, locked };
            let report = image::build(&inputs, &mut progress)?;
            println!("{}  {}", report.sha256, report.image.display());
        }
        Command::Lock { update, file } => {
            let store = image::debs::Debs::open(&arguments.cache, arguments.mirror)?;
            let apt = store.apt(&mut progress)?;
            apt.update(&mut progress)?;
            let newest = image::resolve_newest(&apt)?;
            let text = image::lock::format(&newest);
            let old = std::fs::read_to_string(&file).unwrap_or_default();
            for line in text.lines().filter(|line| !old.lines().any(|known| known == *line)) {
                println!("newer: {line}");
            }
            if update {
                std::fs::write(&file, text)?;
                println!("wrote {}", file.display());
            } else if text != old {
                println!("the mirror has other versions: `image lock --update` takes them");
            }
        }
    }
    Ok(())
}

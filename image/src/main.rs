//! Command line of the image builder: `image build`, `image lock --update`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use image::{BuildInputs, PrintProgress, update};

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
        /// What to call the version [default: the product's].
        #[arg(long)]
        as_version: Option<String>,
        /// Public keys of whoever may sign updates of it [default: image/update-keys].
        #[arg(long)]
        update_keys: Option<PathBuf>,
    },
    /// Makes a secret key for updates in a file that only you can read; prints its public key.
    NewKey {
        /// The file to make.
        file: PathBuf,
    },
    /// Signs an update: with a secret key here, or with a signature that was made elsewhere.
    Sign {
        /// The update.
        update: PathBuf,
        /// A file with a secret key.
        #[arg(long, conflicts_with_all = ["message", "signature"])]
        key: Option<PathBuf>,
        /// Write what is to be signed elsewhere to this file.
        #[arg(long, conflicts_with = "signature")]
        message: Option<PathBuf>,
        /// The signature (Ed25519, hexadecimal) over that.
        #[arg(long, requires = "public_key")]
        signature: Option<String>,
        /// The public key that the signature is to be checked against.
        #[arg(long)]
        public_key: Option<String>,
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
    match &arguments.command {
        Command::NewKey { file } => return new_key(file),
        Command::Sign { update, key, message, signature, public_key } => {
            let elsewhere = signature.as_deref().zip(public_key.as_deref());
            return sign(update, key.as_deref(), message.as_deref(), elsewhere);
        }
        Command::Build { .. } | Command::Lock { .. } => {}
    }
    let missing = image::missing_host_packages();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|entry| entry.package).collect();
        bail!("this machine lacks packages: run `apt-get install {}`", names.join(" "));
    }
    let mut progress = PrintProgress::new();
    match arguments.command {
        Command::NewKey { .. } | Command::Sign { .. } => {}
        Command::Build { gateway, init, out, locked, as_version: version, update_keys } => {
            let (cache_dir, mirror) = (arguments.cache, arguments.mirror);
            let inputs =
                BuildInputs { gateway, init, out, cache_dir, mirror, locked, version, update_keys };
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

fn new_key(file: &Path) -> Result<()> {
    let key = update::new_key()?;
    let mut made = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    made.write_all(update::key_text(&key).as_bytes())?;
    made.sync_all()?;
    print!("{}", update::public_text(&key));
    Ok(())
}

fn sign(
    file: &Path,
    key: Option<&Path>,
    message: Option<&Path>,
    elsewhere: Option<(&str, &str)>,
) -> Result<()> {
    match (key, message, elsewhere) {
        (Some(key), _, _) => {
            update::sign(file, &update::parse_key(&std::fs::read_to_string(key)?)?)
        }
        (None, Some(message), _) => Ok(std::fs::write(message, update::message(file)?)?),
        (None, None, Some((signature, public))) => {
            let keys = update::check_keys(public)?;
            let [key] = keys.as_slice() else { bail!("--public-key is one key") };
            update::put_signature(file, &update::parse_signature(signature)?, key)
        }
        (None, None, None) => bail!("say --key, --message or --signature"),
    }
}

//! What the host must have installed, and how it gets there: Debian or Ubuntu packages by apt-get,
//! the musl target by rustup. Says what is installed and why before it does so.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::apt_sources;

/// One Debian package and the reason for it.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Name for `apt-get install`.
    pub package: &'static str,
    /// Why, for the user.
    pub why: &'static str,
    /// A file that it brings: there, the package need not be installed.
    pub file: &'static str,
}

/// What running virtual machines takes.
pub const QEMU: &[Need] = &[
    Need {
        package: "qemu-system-x86",
        why: "runs the appliance",
        file: "/usr/bin/qemu-system-x86_64",
    },
    Need {
        package: "qemu-utils",
        why: "converts and checks virtual disks",
        file: "/usr/bin/qemu-img",
    },
    Need {
        package: "ovmf",
        why: "is the UEFI firmware of virtual machines",
        file: "/usr/share/OVMF/OVMF_CODE_4M.fd",
    },
];

/// What the virtual LAN of the tests takes.
pub const VIRTUAL_LAN: &[Need] = &[Need {
    package: "passt",
    why: "joins the virtual LAN of the tests to this machine",
    file: "/usr/bin/passt",
}];

/// Compiling our own C parts (SQLite, cryptography) and linking.
pub const COMPILER: &[Need] = &[Need {
    package: "build-essential",
    why: "compiles and links the gateway's C parts",
    file: "/usr/bin/cc",
}];

/// The build of the image needs these (crate `image` knows which).
pub fn for_image() -> Vec<Need> {
    image::missing_host_packages()
        .iter()
        .map(|missing| Need { package: missing.package, why: missing.why, file: "" })
        .collect()
}

/// Installs what is missing of `needs`. Asks for root through sudo when it is not root.
///
/// # Errors
/// When something is missing and cannot be installed; with the command to run by hand.
pub fn ensure_packages(needs: &[Need]) -> Result<()> {
    let missing: Vec<Need> =
        needs.iter().copied().filter(|need| !Path::new(need.file).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing Debian packages that are missing here:");
    for need in &missing {
        println!("  {:<24} {}", need.package, need.why);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "this is not Debian or Ubuntu (no apt-get); install what holds: {}",
            missing.iter().map(|need| need.file).collect::<Vec<_>>().join(", ")
        );
    }
    install(&packages)
        .with_context(|| format!("run by hand: apt-get install {}", packages.join(" ")))
}

/// Installs the packages from the machine's own release; where the machine already holds newer
/// parts of QEMU from backports, which that release's QEMU conflicts with, from backports too.
fn install(packages: &[&str]) -> Result<()> {
    run(&mut apt_get(&["update"]))?;
    if run_quietly(&mut apt_get_simulated(packages)).is_ok() {
        return run(apt_get(&["install"]).args(packages));
    }
    let held = installed_version("qemu-utils").unwrap_or_default();
    if !held.contains("~bpo") || !packages.iter().any(|package| package.starts_with("qemu-")) {
        // Not that conflict: let apt-get say what is wrong.
        return run(apt_get(&["install"]).args(packages));
    }
    let codename = apt_sources::codename(&std::fs::read_to_string("/etc/os-release")?)
        .context("/etc/os-release names no VERSION_CODENAME")?;
    let release = format!("{codename}-backports");
    let from_backports =
        |command: &[&str]| apt_get(&[command, ["-t", release.as_str()].as_slice()].concat());
    let mut parts = vec!["qemu-system-common", "qemu-system-data", "seabios"];
    parts.extend(packages);
    let simulated = run_quietly(from_backports(&["install", "--simulate"]).args(&parts));
    if simulated.is_err() || !offers(&release) {
        let entry = apt_sources::backports_entry(&apt_sources::read_all()?, &codename)
            .context("no apt source of this machine names its own release")?;
        let file = "/etc/apt/sources.list.d/tidegate-backports.sources";
        println!(
            "qemu-utils {held} came from {release}, and QEMU must be of the same release:\n\
             adding {file}, made after this machine's own apt sources"
        );
        let mut draft = tempfile::NamedTempFile::new()?;
        std::io::Write::write_all(&mut draft, entry.as_bytes())?;
        run(as_root("install").args(["-m", "0644"]).arg(draft.path()).arg(file))?;
        run(&mut apt_get(&["update"]))?;
    }
    run(from_backports(&["install"]).args(&parts))
}

/// Whether apt's lists hold anything of `release`.
fn offers(release: &str) -> bool {
    let listed = Command::new("apt-cache").args(["madison", "qemu-system-x86"]).output();
    listed.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(release))
}

fn installed_version(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Version}", package])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.strip_prefix("installed ").map(str::to_owned)
}

fn apt_get(words: &[&str]) -> Command {
    let mut command = as_root("apt-get");
    command
        // Somebody else may be installing: wait instead of failing.
        .args(["-o", "DPkg::Lock::Timeout=500", "-q", "-y", "--no-install-recommends"])
        .args(words);
    command
}

fn apt_get_simulated(packages: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-y", "--no-install-recommends", "--simulate", "install"]).args(packages);
    command
}

fn as_root(program: &str) -> Command {
    let environment = "DEBIAN_FRONTEND=noninteractive";
    let mut command = Command::new(if nix::unistd::geteuid().is_root() { "env" } else { "sudo" });
    if !nix::unistd::geteuid().is_root() {
        command.arg("env");
    }
    command.args([environment, program]);
    command
}

/// Adds the target of PID 1's static binary where it is missing.
///
/// # Errors
/// When it is missing and rustup cannot add it.
pub fn ensure_musl_target() -> Result<()> {
    const TARGET: &str = "x86_64-unknown-linux-musl";
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("cannot run rustc")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let has_std = std::fs::read_dir(folder).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("libstd-")))
    });
    if has_std {
        return Ok(());
    }
    println!(
        "Installing the Rust target {TARGET}: the appliance's first process is one static binary"
    );
    run(Command::new("rustup").args(["target", "add", TARGET]))
        .with_context(|| format!("install the Rust standard library for {TARGET} by hand"))
}

/// Installs a cargo subcommand where it is missing.
///
/// # Errors
/// When it is missing and `install` fails.
pub fn ensure_cargo_tool(name: &str, install: &[&str]) -> Result<()> {
    let there = Command::new("cargo").args([name, "--version"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    println!("Installing cargo {name}, which is missing here: {}", install.join(" "));
    let (program, words) = install.split_first().context("an empty command")?;
    run(Command::new(program).args(words))
}

/// Makes a virtual environment of Python in `home` with what `pins` lists, unless it is there with just that. pip is
/// given `options` besides.
///
/// # Errors
/// When it cannot be made, or PyPI does not have the versions.
pub fn ensure_python(home: &Path, what: &str, pins: &str, options: &[&str]) -> Result<()> {
    let installed = home.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|there| there == pins) {
        return Ok(());
    }
    println!("Installing {what} from PyPI into {}", home.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home))?;
    let requirements = home.join("requirements.txt");
    fs::write(&requirements, pins)?;
    run(Command::new(home.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(options)
        .arg("--requirement")
        .arg(requirements))?;
    fs::write(installed, pins)?;
    Ok(())
}

/// Runs a command with its output on the terminal.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let name = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

//! Building what is run: the two binaries and, from them, the disk image.
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use image::{BuildInputs, BuildReport, Progress};
use serde_json::Value;

use crate::workspace::{GATEWAY_VARIABLE, Workspace};

const MUSL: &str = "x86_64-unknown-linux-musl";

/// The gateway's binary, built as it ships.
///
/// # Errors
/// When it does not compile.
pub fn gateway(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(GATEWAY_VARIABLE) {
        return Ok(given.into());
    }
    cargo_build(workspace, &["--release", "--package", "gateway", "--bin", "gateway"])
}

/// The load generator of `cargo bench-nfs`, which is linked against libnfs.
///
/// # Errors
/// When it does not compile.
pub fn nfs_load(workspace: &Workspace) -> Result<PathBuf> {
    let what = ["--package", "e2e", "--features", "libnfs", "--bin", "nfs-load"];
    cargo_build(workspace, &[["--release"].as_slice(), &what].concat())
}

/// The server that only answers NULL, of the benchmark.
///
/// # Errors
/// When it does not compile.
pub fn null_server(workspace: &Workspace) -> Result<PathBuf> {
    cargo_build(workspace, &["--release", "--package", "e2e", "--bin", "null-server"])
}

/// The S3 server as a program.
///
/// # Errors
/// When it does not compile.
pub fn s3_store(workspace: &Workspace) -> Result<PathBuf> {
    // With the dependencies of `e2e`, so that what this program was built with is not built again.
    let what = ["--package", "e2e", "--package", "s3-store", "--bin", "s3-store"];
    cargo_build(workspace, &[["--release"].as_slice(), &what].concat())
}

/// PID 1's binary: static, small.
///
/// # Errors
/// When it does not compile.
pub fn init(workspace: &Workspace) -> Result<PathBuf> {
    cargo_build(workspace, &["--profile", "init", "--target", MUSL, "--package", "init"])
}

/// [`init`] of other sources, such as those of an earlier revision. They are built in a target folder of their
/// own: cargo takes packages of the same name in two workspaces for the same ones.
///
/// # Errors
/// When it does not compile.
pub fn init_in(sources: &Path) -> Result<PathBuf> {
    cargo_build_in(sources, &["--profile", "init", "--target", MUSL, "--package", "init"])
}

/// The image builder of other sources.
///
/// # Errors
/// When it does not compile.
pub fn image_builder_in(sources: &Path) -> Result<PathBuf> {
    cargo_build_in(sources, &["--release", "--package", "image", "--bin", "image"])
}

/// The disk image, from the binaries as they are in the source tree.
///
/// # Errors
/// When something does not compile, or a Debian package cannot be had.
pub fn image(workspace: &Workspace, progress: &mut dyn Progress) -> Result<BuildReport> {
    let _building = workspace.building()?;
    progress.step("gateway: compiling");
    let gateway = gateway(workspace)?;
    progress.step("init: compiling");
    let init = init(workspace)?;
    let inputs = BuildInputs {
        gateway,
        init,
        out: workspace.image(),
        cache_dir: workspace.package_cache(),
        mirror: None,
        locked: false,
        version: None,
        update_keys: None,
    };
    image::build(&inputs, progress)
}

/// The kernel that the image boots, as a file of its own.
///
/// # Errors
/// When the image has not been built here.
pub fn kernel(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.package_cache().join("debian/boot");
    std::fs::read_dir(&folder)
        .with_context(|| format!("no kernel is unpacked in {}", folder.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-")))
        .with_context(|| format!("no kernel in {}", folder.display()))
}

/// Runs `cargo build` and returns the one executable that it made or found fresh.
fn cargo_build(workspace: &Workspace, arguments: &[&str]) -> Result<PathBuf> {
    run_cargo(Command::new(cargo()).current_dir(workspace.root()), arguments)
}

fn cargo_build_in(sources: &Path, arguments: &[&str]) -> Result<PathBuf> {
    let target = sources.join("target");
    run_cargo(Command::new(cargo()).current_dir(sources).env("CARGO_TARGET_DIR", target), arguments)
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn run_cargo(cargo: &mut Command, arguments: &[&str]) -> Result<PathBuf> {
    let output = cargo
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(arguments)
        // The compiler's own progress and errors.
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo build {} failed", arguments.join(" "));
    }
    let executables: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    match executables.as_slice() {
        [executable] => Ok(executable.clone()),
        found => bail!("cargo build {} made {} executables", arguments.join(" "), found.len()),
    }
}

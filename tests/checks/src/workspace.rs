//! Where things are: the repository and what is built below it.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Names a gateway binary to use instead of building one; `cargo verify` sets it to the one that
/// the workspace's tests were just built with.
pub const GATEWAY_VARIABLE: &str = "TIDEGATE_GATEWAY";

/// The right to build in `out`, until it is dropped.
#[derive(Debug)]
pub struct Building(#[expect(dead_code, reason = "holds the lock")] File);

/// The repository that this crate was compiled from.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds it.
    pub fn find() -> Self {
        // This crate is ROOT/tests/checks.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        Self { root: root.expect("the crate is two folders below the root").to_owned() }
    }

    /// Its root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What builds and runs leave behind; not under version control.
    pub fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    /// Waits until no other process builds in [`Workspace::out`]: tests run side by side, and what the first one
    /// builds the others find.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub fn building(&self) -> Result<Building> {
        fs::create_dir_all(self.out()).context("the folder of what is built")?;
        let lock =
            File::create(self.out().join("build.lock")).context("the lock of what is built")?;
        lock.lock().context("waiting for another build")?;
        Ok(Building(lock))
    }

    /// Debian packages and what is unpacked of them.
    pub fn package_cache(&self) -> PathBuf {
        self.out().join("image")
    }

    /// The appliance's image.
    pub fn image(&self) -> PathBuf {
        self.out().join("tidegate.img")
    }

    /// The appliance's OVA.
    pub fn ova(&self) -> PathBuf {
        self.out().join("tidegate.ova")
    }
}

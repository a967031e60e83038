//! The file system test suites that nobody here wrote, as static programs for the client: pjdfstest
//! (POSIX semantics) and fsx (random reads, writes, truncations, mappings), from crates.io.
use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    host::{self, Need},
    workspace::Workspace,
};

/// A suite.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Crate and program.
    pub name: &'static str,
    version: &'static str,
    needs: &'static [Need],
}

/// <https://crates.io/crates/pjdfstest>
pub const PJDFSTEST: Suite = Suite {
    name: "pjdfstest",
    version: "0.2.2",
    needs: &[Need {
        package: "libacl1-dev",
        why: "is a part of the test suite pjdfstest",
        file: "/usr/include/sys/acl.h",
    }],
};

/// <https://crates.io/crates/fsx>
pub const FSX: Suite = Suite { name: "fsx", version: "0.3.2", needs: &[] };

/// Static, as the client has a C library of its own.
const TARGET: &str = "x86_64-unknown-linux-gnu";

impl Suite {
    /// Installs it in `out/suites`, or finds it there.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn program(&self, workspace: &Workspace) -> Result<PathBuf> {
        let root = workspace.out().join("suites").join(format!("{}-{}", self.name, self.version));
        let program = root.join("bin").join(self.name);
        let _building = workspace.building()?;
        if program.exists() {
            return Ok(program);
        }
        host::ensure_packages(&[host::COMPILER, self.needs].concat())?;
        println!("{} {}: compiling the test suite", self.name, self.version);
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        host::run(
            Command::new(cargo)
                .args(["install", "--locked", "--target", TARGET, "--version", self.version])
                .arg("--root")
                .arg(&root)
                .arg(self.name)
                .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
                .env("CARGO_TARGET_DIR", workspace.out().join("suites/target"))
                .current_dir(workspace.out()),
        )?;
        Ok(program)
    }
}

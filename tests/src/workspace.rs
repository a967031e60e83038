//! Where things are: the repository and what is built below it.
use std::path::{Path, PathBuf};

/// The repository that this crate was compiled from.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds it.
    pub fn find() -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = tests.parent().expect("the crate is a folder of the repository").to_owned();
        Self { root }
    }

    /// Its root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What builds and runs leave behind; not under version control.
    pub fn out(&self) -> PathBuf {
        self.root.join("out")
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

//! Licence texts of what the image redistributes: each package's `copyright` file goes with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lock::Package;

/// `usr/share/doc/PACKAGE/copyright` in the image, and the file to take it from.
pub(crate) fn files(tree: &Path, packages: &[Package]) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = Vec::new();
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    for name in names {
        let relative = PathBuf::from("usr/share/doc").join(name).join("copyright");
        // A package may share the documentation folder of another one by a link into it.
        let source = match tree.join(&relative).canonicalize() {
            Ok(source) => source,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).context("cannot read a copyright file"),
        };
        files.push((relative, source));
    }
    Ok(files)
}

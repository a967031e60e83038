//! The tools of libnfs (Debian: libnfs-utils), where they are installed.
use std::{path::Path, process::Command};

use crate::Gateway;

fn run(tool: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(tool).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {args:?}: {errors}");
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn libnfs_copies_lists_and_reads_back() {
    let installed = |tool| Path::new("/usr/bin").join(tool).exists();
    if !["nfs-ls", "nfs-cp", "nfs-cat"].into_iter().all(installed) {
        eprintln!("skipped: libnfs-utils is not installed");
        return;
    }
    let gateway = Gateway::start().await;
    let port = gateway.address.port();
    let url = move |path: &str| {
        format!("nfs://127.0.0.1/share/{path}?nfsport={port}&mountport={port}&uid=1000&gid=100")
    };
    tokio::task::spawn_blocking(move || {
        let directory = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_be_bytes).collect();
        let local = directory.path().join("data");
        std::fs::write(&local, &data).unwrap();
        run("nfs-cp", &[local.to_str().unwrap(), &url("data")]);
        let listed = String::from_utf8(run("nfs-ls", &[&url("")])).unwrap();
        assert!(listed.contains("data") && listed.contains("12000000"), "{listed}");
        assert!(run("nfs-cat", &[&url("data")]) == data);
    })
    .await
    .unwrap();
}

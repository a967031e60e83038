//! The tools of libnfs (Debian: libnfs-utils), where they are installed; under `cargo verify`, which
//! installs them, they must be.
use crate::{
    Gateway,
    tools::{is_installed, run},
};

/// Set by `cargo verify`.
const REQUIRED: &str = "TIDEGATE_NFS_CLIENTS_REQUIRED";
const NFS_STAT: &str = "/usr/bin/nfs-stat";

#[tokio::test(flavor = "multi_thread")]
async fn libnfs_copies_lists_and_reads_back() {
    let installed = |tool: &&str| is_installed(&format!("/usr/bin/{tool}"));
    if let Some(missing) = ["nfs-ls", "nfs-cp", "nfs-cat"].iter().find(|tool| !installed(tool)) {
        let missing = format!("{missing} is missing: apt-get install libnfs-utils");
        assert!(std::env::var_os(REQUIRED).is_none(), "{missing}");
        eprintln!("skipped: {missing}");
        return;
    }
    let gateway = Gateway::start().await;
    let port = gateway.address.port();
    let url = move |path: &str| {
        format!("nfs://127.0.0.1/share/{path}?nfsport={port}&mountport={port}&uid=1000&gid=100")
    };
    tokio::task::spawn_blocking(move || {
        let said = |tool: &str, args: &[&str]| String::from_utf8(run(tool, args)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_be_bytes).collect();
        let local = directory.path().join("data");
        std::fs::write(&local, &data).unwrap();
        run("nfs-cp", &[local.to_str().unwrap(), &url("data")]);
        let listed = said("nfs-ls", &[&url("")]);
        assert!(listed.contains("data") && listed.contains("12000000"), "{listed}");
        assert!(run("nfs-cat", &[&url("data")]) == data);
        // Newer releases have it.
        if is_installed(NFS_STAT) {
            let stat = said(NFS_STAT, &[&url("data")]);
            assert!(stat.contains("12000000") && stat.contains("regular file"), "{stat}");
        }
        run("nfs-cp", &[&url("data"), &url("copy")]);
        let back = directory.path().join("back");
        run("nfs-cp", &[&url("copy"), back.to_str().unwrap()]);
        assert!(std::fs::read(back).unwrap() == data);
    })
    .await
    .unwrap();
}

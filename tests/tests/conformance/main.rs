//! Test suites that nobody here wrote, run on the mounted share by a stock Linux client: pjdfstest for
//! POSIX semantics, fsx for the bytes, a project tree for what people do, and two clients for what one sees of
//! the other's changes.
mod project;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    bucket::{Bucket, UPLOAD_LIMIT},
    client_vm::ClientVm,
    laptop::Laptop,
    numbers::sha256,
    suites::{FSX, PJDFSTEST},
    wait::poll_until,
};
use gateway_api::settings::Squash;

/// One shell script in the emulated client.
const SCRIPT_LIMIT: Duration = Duration::from_secs(600);
/// A whole suite, on a busy machine.
const SUITE_LIMIT: Duration = Duration::from_secs(3600);

/// What cannot hold on this share, and why.
const PJDFSTEST_EXCLUDED: &str = include_str!("pjdfstest.excluded");

fn pjdfstest() -> Result<()> {
    // The suite changes owners as root, and acts as other users itself.
    let mut laptop = Laptop::new("pjdfstest", |settings| {
        settings.shares[0].squash = Squash::NoSquash;
    })?;
    laptop.add_programs(&[PJDFSTEST.program(laptop.workspace())?])?;
    laptop.start_gateway()?;
    let mut client = laptop.client("client")?;
    client.sh(&laptop.mount_command("")?, SCRIPT_LIMIT)?;
    let excluded = PJDFSTEST_EXCLUDED.lines().filter(|line| !line.starts_with('#'));
    let excluded: Vec<&str> = excluded.filter(|line| !line.is_empty()).collect();
    let configuration = format!(
        r#"[features]
utimensat = {{}}
utime_now = {{}}
rename_ctime = {{}}
posix_fallocate = {{}}
[settings]
naptime = 0.01
expected_failures = {excluded:?}
[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
"#
    );
    let script = format!(
        "printf '#!/bin/sh\\ncommand -v \"$1\"\\n' > /usr/bin/which; chmod +x /usr/bin/which\n\
         cat > /tmp/pjdfstest.toml <<'END'\n{configuration}END\n\
         pjdfstest -c /tmp/pjdfstest.toml -p /mnt/sales -s /tmp 2>&1"
    );
    let answer = client.run(&script, SUITE_LIMIT)?;
    println!("{}", answer.output);
    ensure!(answer.code == 0, "pjdfstest found failures");
    let summary = answer.output.lines().find(|line| line.contains("Summary"));
    ensure!(summary.is_some_and(|line| !line.contains(" 0 passed")), "no case was run");
    // What it could not remove: directories in which the client still kept a file that was removed
    // while it was open. Then nothing is there, and so nothing stays in the bucket.
    client.sh("rm -rf /mnt/sales/.tmp* && ls -A /mnt/sales", SCRIPT_LIMIT)?;
    let bucket = Bucket::new(&laptop.store);
    poll_until("the suite's files leave the bucket", UPLOAD_LIMIT, || {
        Ok(bucket.paths().is_empty().then_some(()))
    })
    .with_context(|| format!("left in the bucket: {:?}", bucket.paths()))
}

/// Relative frequencies of fsx's operations that NFSv3 has; `mapped` with mmap.
fn fsx_configuration(mapped: bool) -> String {
    let mapped = if mapped { 10 } else { 0 };
    format!(
        "flen = 2097152
[opsize]
max = 131072
[weights]
read = 10
write = 10
mapread = {mapped}
mapwrite = {mapped}
truncate = 5
close_open = 1
invalidate = 1
fsync = 1
fdatasync = 1
sendfile = 1
posix_fadvise = 1
copy_file_range = 1
"
    )
}

fn fsx(operations: u32) -> Result<()> {
    let mut laptop = Laptop::new("fsx", |_| {})?;
    laptop.add_programs(&[FSX.program(laptop.workspace())?])?;
    laptop.start_gateway()?;
    let mut client = laptop.client("client")?;
    client.sh(&laptop.mount_command("")?, SCRIPT_LIMIT)?;
    for (mapped, seed, name) in [(false, 1813, "fsx.plain"), (true, 3530, "fsx.mapped")] {
        let configuration = fsx_configuration(mapped);
        let answer = client.run(
            &format!(
                "cat > /tmp/fsx.toml <<'END'\n{configuration}END\n\
                 fsx -N {operations} -S {seed} -P /tmp -f /tmp/fsx.toml /mnt/sales/{name}"
            ),
            SUITE_LIMIT,
        )?;
        println!("fsx, {operations} operations, mmap {mapped}, seed {seed}: {}", answer.output);
        ensure!(answer.code == 0, "fsx found a difference");
        same_in_the_bucket(&mut client, Bucket::new(&laptop.store), name)?;
    }
    Ok(())
}

/// The object must come to have the bytes that the client reads.
fn same_in_the_bucket(client: &mut ClientVm, bucket: Bucket<'_>, name: &str) -> Result<()> {
    let read = client.sh(&format!("sha256sum < /mnt/sales/{name}"), SCRIPT_LIMIT)?;
    poll_until(&format!("{name} in the bucket as the client reads it"), UPLOAD_LIMIT, || {
        let object = bucket.object(name);
        Ok(object.filter(|object| read.starts_with(&sha256(&object.body))).map(drop))
    })
}

/// Close-to-open consistency: what a client has closed is what another one that opens the file after
/// that reads, whatever it has cached.
fn two_clients() -> Result<()> {
    let mut laptop = Laptop::new("two_clients", |_| {})?;
    laptop.start_gateway()?;
    let mut clients = [laptop.client("one")?, laptop.client("two")?];
    for client in &mut clients {
        client.sh(&laptop.mount_command("")?, SCRIPT_LIMIT)?;
    }
    let mut expected = String::new();
    for round in 0..10_u32 {
        let (writer, reader) = (round as usize % 2, (round as usize + 1) % 2);
        let line = format!("round {round}\n");
        // Appended, and in every third round written anew.
        let how = if round % 3 == 2 { ">" } else { ">>" };
        if how == ">" {
            expected.clear();
        }
        expected.push_str(&line);
        clients[writer].sh(&format!("printf '{line}' {how} /mnt/sales/log"), SCRIPT_LIMIT)?;
        for client in [reader, writer] {
            let read = clients[client].sh("cat /mnt/sales/log", SCRIPT_LIMIT)?;
            ensure!(read == expected, "round {round}, client {client}: {read:?}, {expected:?}");
        }
        // Same size, other bytes.
        clients[reader].sh(&format!("printf {round:04} > /mnt/sales/same"), SCRIPT_LIMIT)?;
        let read = clients[writer].sh("cat /mnt/sales/same", SCRIPT_LIMIT)?;
        ensure!(read == format!("{round:04}"), "round {round}: {read:?}");
    }
    an_open_file_survives_its_removal_by_its_own_client(&mut clients)?;
    exactly_one_of_two_creates(&mut clients)
}

/// Linux renames what it has open (`.nfsXXXX`) and removes it at the last close.
fn an_open_file_survives_its_removal_by_its_own_client(clients: &mut [ClientVm; 2]) -> Result<()> {
    let read = clients[0].sh(
        "cd /mnt/sales; echo kept > open; exec 5< open; rm open; cat <&5; ls -A | grep -c nfs; \
         exec 5<&-; ls -A | grep nfs || true",
        SCRIPT_LIMIT,
    )?;
    ensure!(read == "kept\n1\n", "{read:?}");
    let gone = clients[1].run("cat /mnt/sales/open", SCRIPT_LIMIT)?;
    ensure!(gone.code != 0, "removed, and read by the other client: {gone:?}");
    Ok(())
}

/// O_EXCL is a lock that works: `set -C` opens with it.
fn exactly_one_of_two_creates(clients: &mut [ClientVm; 2]) -> Result<()> {
    for round in 0..5 {
        let create = format!("set -C; > /mnt/sales/lock.{round}");
        let [one, two] = clients;
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(|| two.run(&create, SCRIPT_LIMIT));
            (one.run(&create, SCRIPT_LIMIT), other.join())
        });
        let codes = [one?.code, two.expect("the thread does not panic")?.code];
        let made = codes.iter().filter(|code| **code == 0).count();
        ensure!(made == 1, "round {round}: exit codes {codes:?}");
    }
    Ok(())
}

fn check(outcome: Result<()>) {
    if let Err(error) = outcome {
        panic!("{error:?}");
    }
}

mod in_a_vm {
    use super::{check, project::project};

    #[test]
    fn pjdfstest() {
        check(super::pjdfstest());
    }

    #[test]
    fn fsx_with_10_000_operations() {
        check(super::fsx(10_000));
    }

    #[test]
    fn a_project_tree_larger_than_the_cache_is_copied_linted_archived_and_compared_twice() {
        check(project());
    }

    #[test]
    fn two_clients_see_what_the_other_has_closed() {
        check(super::two_clients());
    }
}

mod long {
    #[test]
    #[ignore = "an hour; cargo test --release -p e2e --test conformance -- --ignored long::"]
    fn fsx_with_100_000_operations() {
        super::check(super::fsx(100_000));
    }
}

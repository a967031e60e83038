//! Goal: what a confinement leaves is left, and nothing else. Method: threads of the test enter it,
//! because all of it holds for the thread that asks and for what it starts.
use std::{fs, io, path::Path, process::Command, thread};

use super::*;

/// Does it in a thread of its own, which is confined from then on and ends with it.
fn confined(test: impl FnOnce() + Send + 'static) {
    thread::spawn(test).join().unwrap();
}

fn kept(path: &Path) -> &'static str {
    path.to_str().unwrap().to_owned().leak()
}

fn own_status() -> io::Result<String> {
    fs::read_to_string("/proc/thread-self/status")
}

#[test]
fn files_that_are_not_listed_are_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let place = folder.path().join(name);
        fs::create_dir_all(place.join("inside")).unwrap();
        fs::write(place.join("file"), name).unwrap();
        place
    };
    let (read, write, other) = (place("read"), place("write"), place("other"));
    let paths = Paths {
        programs: &["/usr", "/lib", "/lib64"],
        read: Box::leak(Box::new([kept(&read), "/does/not/exist"])),
        write: Box::leak(Box::new([kept(&write)])),
    };
    confined(move || {
        let said = paths.enter().unwrap();
        if said.contains("NOT") {
            eprintln!("skipped: {said}");
            return;
        }
        let denied =
            |done: io::Result<()>| done.unwrap_err().kind() == io::ErrorKind::PermissionDenied;
        assert_eq!(fs::read_to_string(read.join("file")).unwrap(), "read");
        assert!(denied(fs::write(read.join("file"), "changed")));
        assert!(denied(fs::remove_file(read.join("file"))));
        fs::write(write.join("new"), "new").unwrap();
        fs::rename(write.join("new"), write.join("inside/new")).unwrap();
        assert!(denied(fs::rename(write.join("file"), read.join("file"))));
        assert!(denied(fs::read(other.join("file")).map(drop)));
        assert!(denied(fs::read_dir(&other).map(drop)));
        assert!(denied(fs::read("/etc/passwd").map(drop)));
        assert!(Command::new("/usr/bin/true").status().unwrap().success(), "programs run");
    });
}

#[test]
fn whoever_keeps_descriptors_only_has_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "held").unwrap();
    let mut held = fs::File::open(&file).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::net::TcpStream::connect(address).unwrap();
    confined(move || {
        keep_descriptors_only().unwrap();
        assert!(own_status().is_err(), "not even itself in /proc");
        let denied = fs::read(&file).unwrap_err().kind();
        assert_eq!(denied, io::ErrorKind::PermissionDenied);
        let mut text = String::new();
        io::Read::read_to_string(&mut held, &mut text).unwrap();
        assert_eq!(text, "held");
        // Whoever knocked is let in; it knocks nowhere itself.
        assert_eq!(listener.accept().unwrap().1, peer.local_addr().unwrap());
        assert!(std::net::TcpStream::connect(address).is_err());
        assert!(Command::new("/usr/bin/true").status().is_err());
    });
}

#[test]
fn calls_that_no_service_makes_are_unknown() {
    confined(|| {
        no_new_privileges().unwrap();
        calls::filter().unwrap();
        for call in [
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_mount,
            libc::SYS_init_module,
            libc::SYS_unshare,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_process_vm_readv,
        ] {
            // SAFETY: the filter answers before the kernel looks at the arguments, which are none.
            let done = unsafe { libc::syscall(call, 0, 0, 0, 0, 0) };
            let error = io::Error::last_os_error().raw_os_error();
            assert_eq!((done, error), (-1, Some(libc::ENOSYS)), "call {call}");
        }
        // What every service does goes on.
        let ended = thread::spawn(|| fs::read("/proc/self/maps").unwrap().len()).join().unwrap();
        assert!(ended > 0);
        let said = Command::new("uname").output().unwrap();
        assert_eq!(said.stdout, b"Linux\n");
        let status = own_status().unwrap();
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    });
}

#[test]
fn capabilities_are_taken_out_of_the_bounding_set() {
    confined(|| {
        let bounding = || {
            let status = own_status().unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let before = bounding();
        if let Err(error) = bound_capabilities(&[NET_BIND_SERVICE]) {
            // Without the right to do so, as a user who runs the tests, all stays as it is.
            assert!(error.to_string().contains("giving up capability 0"), "{error:#}");
            assert_eq!(bounding(), before);
            return;
        }
        assert_eq!(bounding(), before & (1 << NET_BIND_SERVICE));
        bound_capabilities(&[]).unwrap();
        assert_eq!(bounding(), 0);
    });
}

#[test]
fn no_call_is_listed_twice() {
    let mut calls = calls::ALLOWED.to_vec();
    calls.sort_unstable();
    calls.dedup();
    assert_eq!(calls.len(), calls::ALLOWED.len());
}

#[test]
fn whoever_takes_strangers_bytes_has_nothing_to_give_away() {
    assert!(GATEWAY.capabilities.is_empty() && GATEWAY.calls_filtered && GATEWAY.paths.is_some());
    assert_eq!(GATEWAY.user, Some(("gateway", [].as_slice())));
    assert!(CONSOLE.capabilities.is_empty() && CONSOLE.oom_score_adj < GATEWAY.oom_score_adj);
}

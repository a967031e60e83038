//! Goal: reading a directory of a hundred thousand names takes memory for some of them, not for all. Method: a
//! process of its own (one test in this file) whose allocations are counted.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
#[path = "movers/world.rs"]
#[expect(dead_code, reason = "shared with the movers' tests")]
mod world;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use gateway::vfs::{Credentials, ReadDir, RequestContext, ShareFs};
use world::World;

const NAMES: usize = 100_000;
/// What the process may grow by. The gateway keeps up to 32,768 rows of inodes in memory, however many there
/// are, which with names of 200 bytes and the embedded S3 server's pages comes to 29 MB; all names, as a
/// listing tells them, would make it 58 MB.
const GROWTH_BYTES_MAX: usize = 40 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a count of what is allocated.
struct Counted;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(live, Ordering::Relaxed);
        // SAFETY: what is asked of this is asked of that.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: what is asked of this is asked of that.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_100_000_names_takes_memory_for_some_of_them() {
    let w = World::new().await;
    for number in 0..NAMES {
        w.foreign(&format!("p/{number:0>200}"), b"");
    }
    let fs = w.mount();
    let who = RequestContext {
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 900)),
        credentials: Credentials { uid: 0, gid: 0, groups: Vec::new() },
        request: None,
    };
    let before = LIVE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let (mut cookie, mut verifier, mut names) = (0, [0; 8], 0);
    loop {
        let ask = ReadDir { cookie, verifier, entries_max: 300, want_attr: false };
        let page = fs.readdir(&who, w.share.root, ask).await.unwrap();
        names += page.entries.len();
        cookie = page.entries.last().map_or(cookie, |last| last.cookie);
        verifier = page.verifier;
        if page.end {
            break;
        }
    }
    assert_eq!(names, 2 + NAMES);
    let growth = MOST.load(Ordering::Relaxed) - before;
    println!("{growth} bytes at most");
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes for a directory of {NAMES} names");
}

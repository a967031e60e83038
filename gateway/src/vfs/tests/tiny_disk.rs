//! A cache disk that is much smaller than what goes through it.
use super::*;
use crate::cache::space::{reserve_bytes, spare_bytes};

const TOTAL: u64 = 64 << 20;
const FILE: usize = 1 << 20;
const FILES: u64 = 150;

fn body(number: u64) -> Vec<u8> {
    (0..FILE).map(|i| ((i / 4096 + i) as u64 * 3 + number).to_le_bytes()[0] | 1).collect()
}

/// Goal: writing and reading far more than there is room for goes on, everything is right, and most of the disk
/// stays in use: not more leaves than others need. Method: uploads after every few files; nothing makes room in
/// the background.
#[tokio::test]
async fn far_more_than_a_tiny_disk_holds_goes_through_it_and_it_stays_in_use() {
    let f = Fixture::new().await;
    f.disk.set_total(TOTAL);
    let capacity = TOTAL - reserve_bytes(TOTAL);
    let mut files = Vec::new();
    let mut least = u64::MAX;
    let mut used = |f: &Fixture, done: u64| {
        let used = TOTAL - f.shared.cache.space().now().unwrap().available;
        assert!(used <= capacity, "the reserve is not touched: {used}");
        if (done + 1) * FILE as u64 > capacity {
            least = least.min(used);
        }
    };
    for number in 0..FILES {
        let file = f.create(&format!("f{number}")).await;
        f.write(file, 0, &body(number), Stability::FileSync).await;
        f.source.objects.lock().unwrap().insert(file, body(number));
        files.push(file);
        if number % 8 == 7 {
            f.upload_all().await;
        }
        used(&f, number);
    }
    f.upload_all().await;
    for (number, file) in (0..).zip(&files) {
        assert!(f.content(*file).await == body(number), "f{number}");
        used(&f, FILES);
    }
    let room = capacity - least;
    assert!(
        room <= spare_bytes(TOTAL) + 2 * FILE as u64,
        "{room} bytes of {capacity} were not used"
    );
    assert!(f.source.fetched.load(Ordering::SeqCst) > 100 << 20, "they had left");
    assert!(f.events.list().is_empty());
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

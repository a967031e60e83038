//! A disk that changes bytes: what is served and uploaded is what was written, or nothing.
use gateway_api::status::HealthEventKind;

use super::*;
use crate::{ids::DiskId, share::ShareHealth, sums, verified::Locked};

const BLOCK: usize = 4096;

impl Fixture {
    fn flip(&self, ino: Ino, at: usize) {
        let path = format!("/cache/data/{:02x}/{}", ino.0 & 0xff, ino.0);
        self.disk.flip_bit(Path::new(&path), at);
    }

    fn damage_told(&self) -> Vec<String> {
        let events = self.events.list().into_iter();
        let damage = events.filter(|event| event.kind == HealthEventKind::CacheDamaged);
        damage.map(|event| event.message).collect()
    }

    /// Blocks that are here as a whole and not known by their sums. Zeros may be a hole, of which nothing is on the disk.
    async fn unknown(&self, ino: Ino, content: &[u8]) -> Vec<u64> {
        let size = content.len() as u64;
        let ranges = self.catalog.ranges(ino).await.unwrap();
        let sums = self.catalog.sums_now(ino, 0..size).await.unwrap().sums;
        let is_hole = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let is_unknown = |block: &u64| {
            let bytes = sums::bytes_of(*block, size);
            let content = &content[usize::try_from(bytes.start).unwrap()..];
            ranges.covers(&bytes)
                && !is_hole(&content[..content.len().min(BLOCK)])
                && !sums.iter().any(|(known, _)| known == block)
        };
        sums::blocks(&(0..size)).filter(is_unknown).collect()
    }

    /// What the uploader gets of the file's first `size` bytes.
    async fn upload_reads(&self, ino: Ino, size: u64) -> Result<Vec<u8>, FsError> {
        let health = ShareHealth::new("s".parse().unwrap(), self.events.clone());
        let (catalog, cache) = (&self.catalog, &self.shared.cache);
        let _held = self.shared.locks.exclusive(ino).await;
        let locked = Locked { catalog, cache, health: &health, ino };
        Ok(locked.read::<FsError>(0..size).await?.to_vec())
    }

    async fn cut(&self, ino: Ino, size: u64) -> Result<(), FsError> {
        let set = SetAttr { size: Some(size), ..SetAttr::default() };
        self.fs.setattr(&owner(), ino, set, None).await.map(drop)
    }

    async fn read_at(&self, ino: Ino, at: u64, count: u32) -> Result<Vec<u8>, FsError> {
        Ok(self.fs.read(&owner(), ino, at, count).await?.data.to_vec())
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect()
}

#[tokio::test]
async fn damaged_bytes_that_s3_has_are_fetched_again_and_nothing_else_is() {
    let f = Fixture::new().await;
    let body = bytes(3 * BLOCK + 100);
    let file = f.object("o", &body).await;
    assert_eq!(f.content(file).await, body);
    let size = body.len() as u64;
    for (at, again) in [(BLOCK + 5, 4096), (3 * BLOCK + 99, 100), (0, 4096)] {
        f.flip(file, at);
        let before = f.source.fetched.load(Ordering::SeqCst);
        assert_eq!(f.read_at(file, at as u64, 1).await.unwrap(), [body[at]], "a byte of a block");
        assert_eq!(f.content(file).await, body);
        assert_eq!(f.source.fetched.load(Ordering::SeqCst) - before, again);
    }
    assert_eq!(f.damage_told().len(), 3);
    assert!(f.damage_told()[2].starts_with("o: bytes 4096-8191 on the cache disk were not"));
    assert_eq!(f.catalog.ranges(file).await.unwrap(), std::iter::once(0..size).collect());
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: so are those of a file of which S3 has the bytes, and does not have the name or the attributes yet. Method: it is
/// damaged, or cut off, between the change and its upload.
#[tokio::test]
async fn damaged_bytes_of_a_file_that_waits_for_its_name_or_attributes_are_fetched_again() {
    for is_renamed in [true, false] {
        let f = Fixture::new().await;
        let body = bytes(3 * BLOCK + 100);
        let file = f.object("o", &body).await;
        assert_eq!(f.content(file).await, body);
        if is_renamed {
            f.fs.rename(&owner(), f.root(), b"o", f.root(), b"p").await.unwrap();
        } else {
            let set = SetAttr { mode: Some(0o600), ..SetAttr::default() };
            f.fs.setattr(&owner(), file, set, None).await.unwrap();
        }
        assert!(f.catalog.inode(file).await.unwrap().dirty);
        f.flip(file, BLOCK + 5);
        let before = f.source.fetched.load(Ordering::SeqCst);
        assert_eq!(f.content(file).await, body, "renamed: {is_renamed}");
        assert_eq!(f.source.fetched.load(Ordering::SeqCst) - before, BLOCK as u64);
        assert_eq!(f.damage_told().len(), 1);
        f.shared.cache.cut(file, 10).await.unwrap();
        assert_eq!(f.content(file).await, body, "renamed: {is_renamed}");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn damaged_bytes_that_only_the_disk_has_are_an_error_until_written_again() {
    for size in [100, 3 * BLOCK, 1 << 20] {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        let body = bytes(size);
        f.write(file, 0, &body, Stability::FileSync).await;
        f.flip(file, size - 1);
        let last = size as u64 - 1;
        assert_eq!(f.read_at(file, last, 1).await.unwrap_err(), FsError::Io, "{size}");
        assert_eq!(f.damage_told().len(), 1);
        assert!(f.damage_told()[0].starts_with("f: bytes "), "{:?}", f.damage_told());
        if size > BLOCK {
            assert_eq!(f.read_at(file, 0, 4096).await.unwrap(), body[..BLOCK], "the rest is good");
        }
        // What is left of the block must not be made good by a write of another part of it.
        let part = Bytes::from_static(b"?");
        let at = last - last % BLOCK as u64;
        let refused = f.fs.write(&owner(), file, at, part, Stability::FileSync).await;
        assert_eq!(refused.unwrap_err(), FsError::Io);
        let at = usize::try_from(at).unwrap();
        // Nor by a cut in the middle of it, or by a write that leaves a hole behind it.
        if !size.is_multiple_of(BLOCK) {
            let beyond = Bytes::from_static(b"?");
            let refused = f.fs.write(&owner(), file, 2 << 20, beyond, Stability::FileSync).await;
            assert_eq!(refused.unwrap_err(), FsError::Io);
        }
        assert_eq!(f.cut(file, last).await.unwrap_err(), FsError::Io);
        f.write(file, at as u64, &body[at..], Stability::FileSync).await;
        assert_eq!(f.content(file).await, body);
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_a_cut_leaves_of_a_block_is_known_as_well() {
    let f = Fixture::new().await;
    let mut body = bytes(3 * BLOCK);
    let file = f.object("o", &body).await;
    assert_eq!(f.content(file).await, body);
    // Damage is mended before the cut, which would make it good.
    f.flip(file, BLOCK + 5);
    f.cut(file, BLOCK as u64 + 100).await.unwrap();
    assert_eq!(f.damage_told().len(), 1);
    body.truncate(BLOCK + 100);
    assert_eq!(f.content(file).await, body);
    assert_eq!(f.unknown(file, &body).await, Vec::<u64>::new());
    f.flip(file, BLOCK + 99);
    assert_eq!(f.read_at(file, BLOCK as u64, 100).await.unwrap_err(), FsError::Io);
    f.write(file, BLOCK as u64, &body[BLOCK..], Stability::FileSync).await;
    // It goes on with a hole, and ends in one, and is what it was.
    f.cut(file, 5 * BLOCK as u64 + 7).await.unwrap();
    f.cut(file, 4 * BLOCK as u64 + 7).await.unwrap();
    body.resize(4 * BLOCK + 7, 0);
    assert_eq!(f.content(file).await, body);
    assert_eq!(f.unknown(file, &body).await, Vec::<u64>::new());
    assert_eq!(f.damage_told().len(), 2);
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Of a file that is cut by opening it, too.
#[tokio::test]
async fn a_cut_by_create_makes_no_damage_good() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let mut body = bytes(2 * BLOCK);
    f.write(file, 0, &body, Stability::FileSync).await;
    f.flip(file, BLOCK + 5);
    let open = async |size| {
        let set = SetAttr { size: Some(size), ..SetAttr::default() };
        f.fs.create(&owner(), f.root(), b"f", CreateHow::Unchecked(set)).await.map(drop)
    };
    assert_eq!(open(BLOCK as u64 + 100).await.unwrap_err(), FsError::Io);
    let set = SetAttr { size: Some(BLOCK as u64 + 100), ..SetAttr::default() };
    let guarded = f.fs.create(&owner(), f.root(), b"f", CreateHow::Guarded(set)).await;
    assert_eq!(guarded.unwrap_err(), FsError::Exists);
    f.write(file, BLOCK as u64, &body[BLOCK..], Stability::FileSync).await;
    open(BLOCK as u64 + 100).await.unwrap();
    body.truncate(BLOCK + 100);
    assert_eq!(f.content(file).await, body);
    assert_eq!(f.unknown(file, &body).await, Vec::<u64>::new());
}

/// Goal: who may not cut a file is told that, not of its damage.
#[tokio::test]
async fn damage_is_no_answer_to_who_may_not_cut_the_file() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, &bytes(BLOCK), Stability::FileSync).await;
    f.flip(file, 5);
    let stranger = user(4000);
    let set = SetAttr { size: Some(100), ..SetAttr::default() };
    assert_eq!(f.fs.setattr(&stranger, file, set, None).await.unwrap_err(), FsError::Access);
    let create = f.fs.create(&stranger, f.root(), b"f", CreateHow::Unchecked(set)).await;
    assert_eq!(create.unwrap_err(), FsError::Access);
    let guard = Some(Timestamp::new(1, 0));
    assert_eq!(f.fs.setattr(&owner(), file, set, guard).await.unwrap_err(), FsError::NotSync);
    assert_eq!(f.damage_told(), Vec::<String>::new());
}

/// Goal: a cut that drops lost bytes, and does not come about, makes no good bytes look damaged, before it is given up and
/// afterwards. Method: what the catalog carries may have been lost by a failed sync just then, so that nothing can be
/// committed; bytes were lost in the block of the cut and after it, only after it, and in a block that was there before.
#[tokio::test]
async fn a_cut_that_does_not_come_about_spoils_no_sum() {
    for (size, lost_from) in [(10_000, 10_000), (12_288, 12_288), (16_384, 12_288)] {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        let body = bytes(size);
        f.write(file, 0, &body, Stability::FileSync).await;
        f.shared.settle().await.unwrap();
        f.write(file, 0, &body, Stability::FileSync).await;
        f.write(file, lost_from, &[1; 4096], Stability::Unstable).await;
        f.disk.fail_syncs(1);
        f.shared.settle().await.unwrap_err();
        f.shared.cache.losses().note(DiskId::PRIMARY);
        assert_eq!(f.cut(file, 9000).await.unwrap_err(), FsError::TryLater);
        assert_eq!(f.read_at(file, 0, 9000).await.unwrap(), body[..9000], "{size}");
        f.shared.settle().await.unwrap();
        f.fs.commit(&owner(), file).await.unwrap();
        let content = f.content(file).await;
        let sure = size.min(12_288);
        assert_eq!((content.len(), &content[..sure]), (size, &body[..sure]));
        f.cut(file, 9000).await.unwrap();
        assert_eq!(f.content(file).await, body[..9000]);
        assert_eq!(f.damage_told(), Vec::<String>::new(), "{size}");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// Goal: a file is not shorter for a cut that is refused, as bytes are lost before it, too: what is written then is
/// neither taken for its end nor leaves a hole where S3 has bytes.
#[tokio::test]
async fn a_cut_that_is_refused_leaves_the_file_as_long_as_it_is() {
    let f = Fixture::new().await;
    let object = bytes(300_000);
    let cached = f.object("cached", &object).await;
    assert_eq!(f.content(cached).await, object);
    let bare = f.object("bare", &object).await;
    for file in [cached, bare] {
        for at in [0, 200_000] {
            f.write(file, at, &[1; 10_000], Stability::Unstable).await;
        }
        f.disk.fail_syncs(1);
        assert_eq!(f.fs.commit(&owner(), file).await.unwrap_err(), FsError::Io);
        assert_eq!(f.cut(file, 9000).await.unwrap_err(), FsError::Io, "bytes before it are lost");
        assert_eq!(f.fs.getattr(&owner(), file).await.unwrap().size, 300_000);
        f.write(file, 0, &[2; 9000], Stability::Unstable).await;
        f.write(file, 9000, &[2; 1000], Stability::Unstable).await;
        f.write(file, 200_000, &[2; 10_000], Stability::Unstable).await;
        f.fs.commit(&owner(), file).await.unwrap();
        let mut body = object.clone();
        body[..10_000].fill(2);
        body[200_000..210_000].fill(2);
        assert!(f.content(file).await == body);
        assert!(f.upload_reads(file, 300_000).await.unwrap() == body);
    }
    assert_eq!(f.damage_told(), Vec::<String>::new());
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: sums of bytes that were never committed do not come up in a hole. Method: they are noted with the commit of an
/// earlier write, the process ends before their own, and the file is made longer.
#[tokio::test]
async fn a_hole_has_no_sum_of_what_was_to_be_there() {
    // Its bytes do not travel with its row, so that there is a sync.
    const SIZE: usize = 40 * BLOCK;
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, &[1; SIZE], Stability::Unstable).await;
    let who = owner();
    let mut first = Box::pin(f.fs.commit(&who, file));
    let held = until_it_syncs(f.disk.hold_syncs(), &mut first).await;
    f.write(file, SIZE as u64, &[2; BLOCK], Stability::Unstable).await;
    drop(held);
    first.await.unwrap();
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    let f = f.power_cut(1).await;
    f.cut(file, (SIZE + 2 * BLOCK) as u64).await.unwrap();
    let content = f.content(file).await;
    assert_eq!((content.len(), &content[SIZE..]), (SIZE + 2 * BLOCK, &[0; 2 * BLOCK][..]));
    assert_eq!(f.damage_told(), Vec::<String>::new());
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}

/// Goal: a cut is not made good by damage that comes after its check. Method: the cut waits for its lock meanwhile.
#[tokio::test]
async fn damage_that_comes_just_before_a_cut_is_not_made_good() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, &bytes(BLOCK), Stability::FileSync).await;
    let row = f.catalog.inode(file).await.unwrap();
    f.flip(file, 5);
    let set = SetAttr { size: Some(100), ..SetAttr::default() };
    let held = f.shared.locks.exclusive(file).await;
    assert_eq!(f.fs.apply(&owner(), &row, &set).await.unwrap_err(), FsError::TryLater);
    drop(held);
    assert_eq!(f.cut(file, 100).await.unwrap_err(), FsError::Io);
}

/// Goal: of a file of which nothing is known, as after a lost catalog, everything is when it is uploaded.
#[tokio::test]
async fn an_upload_learns_what_is_not_known_of_a_file_that_is_in_doubt() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let body = bytes(40_000);
    f.write(file, 0, &body, Stability::FileSync).await;
    f.catalog.forget_sums(file).await.unwrap();
    f.catalog.doubt_sums(vec![file]).await.unwrap();
    assert_eq!(f.upload_reads(file, 40_000).await.unwrap(), body);
    assert_eq!(f.unknown(file, &body).await, Vec::<u64>::new());
    f.upload_all().await;
    assert!(!f.catalog.take_sums(file, vec![(0, 1)]).await.unwrap(), "it is in no doubt any more");
    f.source.objects.lock().unwrap().insert(file, body.clone());
    f.flip(file, 5000);
    assert_eq!(f.content(file).await, body);
    assert_eq!(f.damage_told().len(), 1);
}

/// What the uploader asks for its bytes.
#[tokio::test]
async fn damaged_bytes_are_never_uploaded() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    let body = bytes(40_000);
    f.write(file, 0, &body, Stability::FileSync).await;
    assert_eq!(f.upload_reads(file, 40_000).await.unwrap(), body);
    f.flip(file, 39_999);
    assert_eq!(f.upload_reads(file, 40_000).await.unwrap_err(), FsError::Io);
    assert_eq!(f.damage_told().len(), 1);
}

/// Goal: a write that the power cut interrupts is not taken for damage, whichever of its sectors are
/// on the disk, and whether the catalog knows of it or it was only held; and committed bytes that it was
/// not in are still checked. Method: many seeds.
#[tokio::test]
async fn crash_an_interrupted_write_is_no_damage() {
    for seed in 0..24 {
        let f = Fixture::new().await;
        let file = f.create("f").await;
        f.write(file, 0, &[1; 30_000], Stability::FileSync).await;
        if seed % 2 == 0 {
            f.upload_all().await;
        }
        f.write(file, 3000, &[2; 20_000], Stability::Unstable).await;
        let f = f.power_cut(seed).await;
        let content = f.content(file).await;
        assert!(content.iter().all(|byte| [1, 2].contains(byte)), "seed {seed}");
        assert_eq!(f.content(file).await, content);
        assert_eq!(f.damage_told(), Vec::<String>::new(), "seed {seed}");
        assert_eq!(f.unknown(file, &content).await, Vec::<u64>::new(), "seed {seed}");
        // Written anew, the file is sure again, and so is the next one after its upload.
        f.write(file, 0, &[3; 30_000], Stability::FileSync).await;
        f.upload_all().await;
        f.source.objects.lock().unwrap().insert(file, vec![3; 30_000]);
        f.flip(file, 5000);
        assert_eq!(f.content(file).await, [3; 30_000]);
        assert_eq!(f.damage_told().len(), 1, "seed {seed}");
    }
}

/// Goal: no sequence of changes makes good bytes look damaged. Method: seeded changes of every kind to
/// one file, which is read after each.
#[tokio::test]
async fn good_bytes_never_look_damaged_whatever_was_done_to_the_file() {
    const SIZE_MAX: u64 = 700_000;
    for seed in 0..12 {
        let f = Fixture::new().await;
        let mut random = Random(seed);
        let mut model = bytes(usize::try_from(random.below(200_000)).unwrap());
        let file = f.object("o", &model).await;
        let object = |model: &Vec<u8>| {
            f.source.objects.lock().unwrap().insert(file, model.clone());
        };
        for step in 0..80_u8 {
            let size = model.len() as u64;
            match random.below(10) {
                0..5 => {
                    let at = random.below(SIZE_MAX.min(size + 10_000));
                    let grain = [1, 512, 4096][usize::try_from(random.below(3)).unwrap()];
                    let (at, len) =
                        (at / grain * grain, (random.below(20_000) + 1) / grain * grain);
                    let data = vec![step; usize::try_from(len).unwrap()];
                    let how = if random.below(2) == 0 {
                        Stability::Unstable
                    } else {
                        Stability::FileSync
                    };
                    f.write(file, at, &data, how).await;
                    let (at, end) =
                        (usize::try_from(at).unwrap(), usize::try_from(at + len).unwrap());
                    if len > 0 {
                        model.resize(model.len().max(end), 0);
                        model[at..end].copy_from_slice(&data);
                    }
                }
                5 => {
                    let size = random.below(SIZE_MAX);
                    f.cut(file, size).await.unwrap();
                    model.resize(usize::try_from(size).unwrap(), 0);
                }
                6 => {
                    f.fs.commit(&owner(), file).await.unwrap();
                    let unknown = f.unknown(file, &model).await;
                    assert_eq!(unknown, Vec::<u64>::new(), "seed {seed} step {step}");
                }
                7 => {
                    f.fs.commit(&owner(), file).await.unwrap();
                    // What is not here yet comes from the object that is being replaced.
                    assert_eq!(f.content(file).await, model, "seed {seed} step {step}");
                    f.upload_all().await;
                    object(&model);
                }
                8 if !f.catalog.inode(file).await.unwrap().dirty => {
                    let at = random.below(size + 1);
                    let some = std::iter::once(at..at + random.below(100_000)).collect();
                    f.catalog.drop_some(file, some).await.unwrap();
                }
                _ => {
                    let at = random.below(size + 1);
                    let read = f.read_at(file, at, 5000).await.unwrap();
                    let at = usize::try_from(at).unwrap();
                    let end = model.len().min(at + 5000);
                    assert_eq!(read, model[at..end], "seed {seed} step {step}");
                }
            }
            assert_eq!(f.damage_told(), Vec::<String>::new(), "seed {seed} step {step}");
        }
        f.fs.commit(&owner(), file).await.unwrap();
        assert_eq!(f.content(file).await, model);
        assert_eq!(f.unknown(file, &model).await, Vec::<u64>::new(), "seed {seed}");
        assert_eq!(f.damage_told(), Vec::<String>::new(), "seed {seed}");
        assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
    }
}

/// The same of writes, commits and reads that meet in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_bytes_never_look_damaged_while_others_write_them() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, &[1; 100_000], Stability::FileSync).await;
    let fs = Arc::new(f.fs);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..6_u64 {
        let fs = fs.clone();
        tasks.spawn(async move {
            let mut random = Random(task);
            for round in 0..60_u8 {
                let at = random.below(90_000) / 2048 * 2048;
                let data =
                    Bytes::from(vec![round; 3000 + usize::try_from(random.below(9000)).unwrap()]);
                if task % 3 == 2 {
                    fs.read(&owner(), file, at, 9000).await.unwrap();
                    continue;
                }
                let how = if task % 3 == 0 { Stability::FileSync } else { Stability::Unstable };
                fs.write(&owner(), file, at, data, how).await.unwrap();
                if random.below(4) == 0 {
                    fs.commit(&owner(), file).await.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    fs.commit(&owner(), file).await.unwrap();
    let f = Fixture { fs: Arc::into_inner(fs).unwrap(), ..f };
    let size = u32::try_from(f.catalog.inode(file).await.unwrap().size).unwrap();
    f.read_at(file, 0, size).await.unwrap();
    assert_eq!(f.damage_told(), Vec::<String>::new());
    // And all of it is known.
    let sums = f.catalog.sums_now(file, 0..u64::from(size)).await.unwrap().sums;
    assert_eq!(sums.len() as u64, u64::from(size).div_ceil(4096));
}

/// Goal: the sums that a commit has noted are not forgotten by one that began earlier and ends later.
/// Method: a commit is left waiting for its sync until another has taken the same bytes and a new burst
/// is open.
#[tokio::test]
async fn a_commit_that_was_overtaken_takes_no_sums_away() {
    let f = Fixture::new().await;
    let file = f.create("f").await;
    f.write(file, 0, &[1; 100_000], Stability::FileSync).await;
    f.write(file, 0, &[2; 10_000], Stability::Unstable).await;
    let who = owner();
    let mut overtaken = Box::pin(f.fs.commit(&who, file));
    let held = until_it_syncs(f.disk.hold_syncs(), &mut overtaken).await;
    drop(held);
    f.write(file, 20_000, &[3; 10_000], Stability::FileSync).await;
    f.write(file, 60_000, &[4; 10_000], Stability::Unstable).await;
    overtaken.await.unwrap();
    f.fs.commit(&owner(), file).await.unwrap();
    let sums = f.catalog.sums_now(file, 0..100_000).await.unwrap().sums;
    assert_eq!(sums.len(), 25, "of every block");
    f.read_at(file, 0, 100_000).await.unwrap();
    assert_eq!(f.damage_told(), Vec::<String>::new());
}

/// A generator with a seed (SplitMix64; Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

//! Frames and files of the log. What it tells of a catalog is tested with the catalog.
use std::{fs::File, os::unix::fs::FileExt};

use rustix::io::Errno;

use super::{
    entry::Entry,
    file::{LogFile, Synced},
    frame::{HEADER, Head, Reader, Source},
    *,
};

/// Writes batch number `seq`.
fn write(file: &mut LogFile, seq: u64, carried: usize, sync: Synced) {
    let head = Head { generation: 7, seq, durable: file.durable() };
    let frame = frame::encode(head, &[Entry::Inos(seq)], &vec![9; carried]).unwrap();
    file.append(&frame, sync).unwrap();
    file.committed().unwrap();
}

/// A log of batches 1, 2, 3, … whose entries are as said, and where they end.
fn log(dir: &Path, syncs: &[Synced]) -> (PathBuf, Vec<u64>) {
    let path = dir.join(file_name(7));
    let mut file = LogFile::create_cached(path.clone());
    let mut ends = Vec::new();
    for (seq, sync) in (1..).zip(syncs) {
        write(&mut file, seq, usize::try_from(seq * 700).unwrap(), *sync);
        ends.push(file.tail);
    }
    (path, ends)
}

const NOW: [Synced; 5] = [Synced::Now; 5];

/// The batches' numbers, where the log ends, and how many bytes of it are damaged.
fn read(path: &Path) -> (Vec<u64>, u64, u64) {
    let file = File::open(path).unwrap();
    let mut reader = Reader::new(&file, 7).unwrap();
    let mut seqs = Vec::new();
    while let Some(batch) = reader.next().unwrap() {
        assert_eq!(batch.entries, [Entry::Inos(batch.seq)]);
        let mut byte = [0];
        file.read_exact_at(&mut byte, batch.carried_at).unwrap();
        assert_eq!(byte, [9]);
        seqs.push(batch.seq);
    }
    (seqs, reader.end, reader.damaged)
}

#[test]
fn what_is_written_is_read_and_zeros_ahead_are_no_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ends) = log(dir.path(), &NOW);
    assert_eq!(read(&path), (vec![1, 2, 3, 4, 5], ends[4], 0));
    assert!(std::fs::metadata(&path).unwrap().len() > ends[4], "it is filled ahead");
    // Of another file of the log nothing counts.
    let file = File::open(&path).unwrap();
    assert!(Reader::new(&file, 8).unwrap().next().unwrap().is_none());
}

/// Goal: a write that was cut off anywhere is the end of the log, whatever it has left; one that is damaged in
/// the middle shows. Method: every length, and a flip in every byte of a frame.
#[test]
fn a_frame_is_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ends) = log(dir.path(), &NOW[..3]);
    let whole = std::fs::read(&path).unwrap();
    for len in ends[1]..ends[2] {
        std::fs::write(&path, &whole[..usize::try_from(len).unwrap()]).unwrap();
        assert_eq!(read(&path), (vec![1, 2], ends[1], 0), "cut at {len}");
    }
    for at in ends[0]..ends[1] {
        let mut flipped = whole.clone();
        flipped[usize::try_from(at).unwrap()] ^= 0x10;
        std::fs::write(&path, &flipped).unwrap();
        assert_eq!(read(&path), (vec![1], ends[0], ends[1] - ends[0]), "flipped at {at}");
    }
    let mut last = whole;
    last[usize::try_from(ends[1]).unwrap() + HEADER] ^= 1;
    std::fs::write(&path, &last).unwrap();
    assert_eq!(read(&path), (vec![1, 2], ends[1], 0), "the last one may have been cut off");
}

/// Goal: what is written past the kernel's cache, where that is possible, is what is read, wherever blocks begin and
/// end, and where the file is not filled ahead. Method: frames of many sizes, more than are filled, and one that is
/// larger than what is; gone on with in the middle of a block.
#[test]
fn frames_of_any_size_follow_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file_name(7));
    let mut file = LogFile::create(path.clone()).unwrap();
    let sizes = (1..400).map(|n| n * n % 9973 + 1).chain([3 << 20, 1, 4096, 8192, 4000]);
    let sizes: Vec<usize> = sizes.collect();
    let mut seqs = Vec::new();
    for (seq, size) in (1..).zip(&sizes) {
        write(&mut file, seq, *size, Synced::Now);
        assert_eq!(file.durable(), file.tail);
        seqs.push(seq);
        if seq % 97 == 0 {
            let tail = file.tail;
            drop(file);
            assert_eq!(read(&path), (seqs.clone(), tail, 0));
            file = LogFile::resume(path.clone(), tail).unwrap();
        }
    }
    assert_eq!(read(&path), (seqs, file.tail, 0));
}

/// Goal: a power cut that keeps a frame and loses one before it, both of which nobody has synced, has damaged
/// nothing: that is the end. If it was synced by then, it is damage. Method: frame 2 is lost.
#[test]
fn a_hole_is_damage_only_where_the_file_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    for (syncs, seqs, damaged) in [
        (&[Synced::Now, Synced::Later, Synced::Later, Synced::Now][..], vec![1], false),
        (&[Synced::Now, Synced::Later, Synced::Now, Synced::Later], vec![1], true),
        (&[Synced::Now, Synced::Now, Synced::Later], vec![1], true),
        (&[Synced::Later, Synced::Later], vec![1], false),
    ] {
        let (path, ends) = log(dir.path(), syncs);
        let mut bytes = std::fs::read(&path).unwrap();
        let lost = usize::try_from(ends[0]).unwrap()..usize::try_from(ends[1]).unwrap();
        bytes[lost].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let (found, end, damage) = read(&path);
        assert_eq!((found, end, damage > 0), (seqs, ends[0], damaged), "{syncs:?}");
        std::fs::remove_file(path).unwrap();
    }
}

/// Goal: what a cut-off write has left behind the end is not taken for a frame later.
#[test]
fn a_log_that_is_gone_on_with_ends_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ends) = log(dir.path(), &NOW[..3]);
    let mut file = LogFile::resume(path.clone(), ends[0]).unwrap();
    write(&mut file, 2, 3, Synced::Now);
    let end = file.tail;
    drop(file);
    assert!(end < ends[1], "the frame before was longer");
    assert_eq!(read(&path), (vec![1, 2], end, 0));
}

#[test]
fn only_files_of_the_log_are_taken_for_such() {
    for (name, number) in [
        (file_name(3), Some(3)),
        (file_name(123_456_789), Some(123_456_789)),
        ("dirty-3.log".to_owned(), None),
        ("dirty-0000000x.log".to_owned(), None),
        (BEGUN.to_owned(), None),
        ("catalog.db".to_owned(), None),
    ] {
        assert_eq!(number_of(OsStr::new(&name)), number, "{name}");
    }
}

/// An empty catalog.
fn database(dir: &Path) -> Connection {
    let mut db = Connection::open(dir.join("catalog.db")).unwrap();
    schema::migrate(&mut db).unwrap();
    db
}

/// Goal: a disk that was full for a moment does not stop the log for good. Method: the next file is there, empty.
#[test]
fn a_file_that_an_attempt_has_left_does_not_stop_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path());
    let mut log = DirtyLog::open(dir.path(), &db, None).unwrap();
    std::fs::write(dir.path().join(file_name(log.generation + 1)), b"").unwrap();
    log.begin_next().unwrap();
    log.tell_whose(&db, 0).unwrap();
    let told = Told::read(dir.path()).unwrap().unwrap();
    assert_eq!((told.damaged, told.last()), (0, number(&db).unwrap()));
}

/// Goal: where catalog and log are gone and the mark is left, it does not belie the new ones.
#[test]
fn a_log_that_begins_anew_begins_above_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    Mark::open(dir.path()).unwrap().set(1000).unwrap();
    let db = database(dir.path());
    drop(DirtyLog::open(dir.path(), &db, None).unwrap());
    assert!(number(&db).unwrap() > 1000);
    assert_eq!(Told::read(dir.path()).unwrap().unwrap().damaged, 0);
}

/// Goal: a start that is cut off while the log is told anew finds the old file, which lacks nothing that it should have.
/// Method: the steps of telling it anew, one by one.
#[test]
fn a_file_that_is_begun_anew_is_not_counted_on_before_it_has_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path());
    let mut log = DirtyLog::open(dir.path(), &db, None).unwrap();
    let (marked, committed) = (mark::read(dir.path()).unwrap(), number(&db).unwrap());
    assert_eq!(marked, committed);
    log.begin_anew().unwrap();
    log.tell_everything(&db).unwrap();
    assert_eq!(mark::read(dir.path()).unwrap(), marked);
    let mut old = Told::read(dir.path()).unwrap().unwrap();
    assert_eq!((old.damaged, old.last()), (0, committed));
    assert!(matches!(old.compare_with(number(&db).unwrap(), false), Stand::Ahead));
    log.name_file().unwrap();
    assert_eq!(mark::read(dir.path()).unwrap(), number(&db).unwrap());
}

/// Goal: a start that goes on in a file which the one before had only begun says there up to where inos are given out: the
/// older file, which has said it, goes. Method: the file is begun, without a batch or with one that was never committed.
#[test]
fn a_file_that_was_only_begun_tells_everything_when_the_older_one_goes() {
    for has_batch in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let db = database(dir.path());
            let mut told = Told::read(dir.path()).unwrap().unwrap();
            assert_eq!(told.compare_with(number(&db).unwrap(), false), Stand::Even);
            let difference = difference(&db, &told).unwrap();
            (DirtyLog::open(dir.path(), &db, Some(&told)).unwrap(), db, told, difference)
        };
        drop(DirtyLog::open(dir.path(), &database(dir.path()), None).unwrap());
        let (mut log, db, first, _) = open();
        assert!(first.inos > 0);
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        log.begin_next().unwrap();
        if has_batch {
            let mut batch = Batch::default();
            log.tell(&db, &mut batch, Notes { last_ino: 9, ..Notes::default() }).unwrap();
            log.write(&db, &batch).unwrap();
        }
        db.execute_batch("ROLLBACK").unwrap();
        drop((log, db));
        drop(open());
        let left = fs_names(dir.path());
        assert_eq!(left.iter().filter(|name| name.ends_with(".log")).count(), 1, "{left:?}");
        let (_, _, told, differs) = open();
        assert!(told.inos > 0, "{has_batch}");
        assert_eq!((told.damaged, differs), (0, None), "{has_batch}");
    }
}

fn fs_names(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// Goal: what is longer than the zeros ahead is durable when it is told, also after one that had no room. Method: the file
/// takes no writes for a while.
#[test]
fn a_frame_that_makes_the_file_grow_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = LogFile::create(dir.path().join(file_name(7))).unwrap();
    let head = Head { generation: 7, seq: 1, durable: file.durable() };
    let refused = frame::encode(head, &[], &vec![9; 8 << 20]).unwrap();
    file.take_writes(false);
    file.append(&refused, Synced::Now).unwrap_err();
    file.take_writes(true);
    for (seq, size) in [(1, 3 << 20), (2, 100), (3, 2 << 20)] {
        write(&mut file, seq, size, Synced::Now);
        assert!(file.is_durable(), "batch {seq}");
    }
    assert_eq!(read(&file.path), (vec![1, 2, 3], file.tail, 0));
}

/// A file of which the disk cannot read what is from `bad` on.
struct Unreadable {
    file: File,
    bad: u64,
}

impl Source for Unreadable {
    fn len(&self) -> io::Result<u64> {
        Source::len(&self.file)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        if at + bytes.len() as u64 > self.bad {
            return Err(Errno::IO.into());
        }
        Source::read_at(&self.file, bytes, at)
    }
}

/// Goal: a log that the disk cannot read is a damaged one: beside a good catalog it is told anew, and no start fails for it.
/// Method: it is unreadable from its first byte on, or from later.
#[test]
fn a_log_that_cannot_be_read_is_told_anew() {
    for bad in [0, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let db = database(dir.path());
        let mut log = DirtyLog::open(dir.path(), &db, None).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (entries, carried) = (vec![Entry::Inos(1 << 20)], vec![9; 2 << 20]);
        log.write(&db, &Batch { entries, carried, new_files: 0 }).unwrap();
        db.execute_batch("COMMIT").unwrap();
        log.committed().unwrap();
        drop((log, db));
        let db = database(dir.path());
        let open = |path| Ok(Unreadable { file: File::open(path)?, bad });
        let mut told = Told::read_from(dir.path(), open).unwrap().unwrap();
        assert!(told.damaged > 0 && told.is_unreadable, "from {bad} on");
        // What it has not told, the catalog has.
        assert_eq!(told.compare_with(number(&db).unwrap(), false), Stand::Ahead);
        drop(DirtyLog::open(dir.path(), &db, Some(&told)).unwrap());
        let anew = Told::read(dir.path()).unwrap().unwrap();
        assert_eq!((anew.damaged, anew.last()), (0, number(&db).unwrap()));
    }
}

//! The power is cut at every moment of every change of the system disk, and both boot loaders, in a
//! model, must boot a version that is whole: what they boot after the cut, and after every further try.
use std::{collections::BTreeMap, io, rc::Rc, sync::OnceLock};

use super::{
    esp::{self, Environment, Image},
    install::{bless, go_back, install},
    made::{self, Made},
    port::Port,
    stream::Stream,
};
use crate::slot::Slot;

/// The system disk. States share what they have in common: there are many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    files: BTreeMap<String, Rc<Vec<u8>>>,
    roots: [Rc<Vec<u8>>; 2],
}

impl State {
    fn set(&mut self, path: &str, content: &[u8]) {
        self.files.insert(path.to_owned(), Rc::new(content.to_vec()));
    }

    fn holds(&self, path: &str, content: &[u8]) -> bool {
        self.files.get(path).is_some_and(|file| file.as_slice() == content)
    }
}

fn at(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

/// A disk that remembers everything that a cut of the power could have left on it.
struct Recorder {
    now: State,
    target: Slot,
    left: Vec<State>,
}

impl Recorder {
    fn new(now: State, running: Slot) -> Self {
        let left = vec![now.clone()];
        Self { now, target: running.other(), left }
    }

    fn leaves(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.now.clone();
        change(&mut state);
        self.left.push(state);
    }

    fn done(&mut self) -> io::Result<()> {
        self.left.push(self.now.clone());
        Ok(())
    }
}

impl Port for Recorder {
    fn images(&self) -> io::Result<Vec<String>> {
        let of = |path: &String| path.strip_prefix("EFI/Linux/").map(str::to_owned);
        Ok(self.now.files.keys().filter_map(of).collect())
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.now.files.get(path).map(|file| file.to_vec()))
    }

    /// Sectors arrive in any order: the front alone, the back alone, every other one.
    fn put(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let old = self.read(path)?.unwrap_or_default();
        let kept: [fn(usize, usize) -> bool; 5] = [
            |sector, sectors| sector < sectors / 2,
            |sector, sectors| sector >= sectors / 2,
            |sector, _| sector % 2 == 0,
            |sector, _| sector % 2 == 1,
            |_, _| false,
        ];
        for keeps in kept {
            for length in [old.len(), content.len()] {
                let mut torn = old.clone();
                torn.resize(length, 0);
                let sectors = length.div_ceil(512);
                for sector in (0..sectors).filter(|sector| keeps(*sector, sectors)) {
                    let range = sector * 512..((sector + 1) * 512).min(length);
                    for at in range {
                        torn[at] = content.get(at).copied().unwrap_or_default();
                    }
                }
                self.leaves(|state| state.set(path, &torn));
            }
        }
        self.now.set(path, content);
        self.done()
    }

    /// The new entry and the end of the old one may be in different sectors.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let content = self.now.files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        self.leaves(|state| {
            state.files.insert(to.to_owned(), content.clone());
        });
        self.leaves(|state| {
            state.files.remove(from);
        });
        self.now.files.remove(from);
        self.now.files.insert(to.to_owned(), content);
        self.done()
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.now.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        self.done()
    }

    fn write_root(&mut self, at: u64, content: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        let root = Rc::make_mut(&mut self.now.roots[self::at(self.target)]);
        root.resize(root.len().max(at + content.len()), 0);
        root[at..at + content.len()].copy_from_slice(content);
        self.done()
    }

    fn sync_root(&mut self) -> io::Result<()> {
        self.done()
    }

    fn read_root(&self, from: u64, content: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(from).unwrap();
        let root = &self.now.roots[at(self.target)];
        content.copy_from_slice(&root[from..from + content.len()]);
        Ok(())
    }
}

/// What a version with this command line runs from: the slot that holds its root file system.
fn finds_root(state: &State, made: &Made) -> Option<Slot> {
    Slot::ALL.into_iter().find(|slot| state.roots[at(*slot)].starts_with(&made.root))
}

fn known() -> &'static [Made] {
    static KNOWN: OnceLock<Vec<Made>> = OnceLock::new();
    KNOWN.get_or_init(|| (1..=3).map(made::version).collect())
}

/// systemd-boot boots once: what comes up, and whether it is on trial.
fn by_uefi(state: &mut State) -> Option<(Made, Slot, bool)> {
    let names = state.files.keys().filter_map(|path| path.strip_prefix("EFI/Linux/"));
    let mut images: Vec<Image> = names.filter_map(Image::of).collect();
    images.sort_by_key(|image| (image.left != Some(0), image.number));
    let image = images.last()?.clone();
    let content = state.files[&image.path()].clone();
    if let Some(left) = image.left {
        let (left, done) = (left.saturating_sub(1), 3 - left.saturating_sub(1));
        let name = format!("tidegate_{}_{}+{left}-{done}.efi", image.number, image.slot.letter());
        state.files.remove(&image.path());
        state.files.insert(format!("EFI/Linux/{name}"), content.clone());
    }
    let made = known().iter().find(|made| made.efi == *content)?;
    let slot = finds_root(state, made)?;
    Some((made.clone(), slot, image.left.is_some()))
}

/// GRUB boots once, by the builder's configuration.
fn by_bios(state: &mut State) -> Option<(Made, Slot, bool)> {
    let mut environment = Environment::of(&state.files[esp::ENVIRONMENT]);
    let mut order = vec![environment.slot];
    if let Some((slot, tries @ 1..=3)) = environment.trial {
        environment.trial = Some((slot, tries - 1));
        state.set(esp::ENVIRONMENT, &environment.block());
        order.insert(0, slot);
    }
    let trial = order.len() == 2;
    // A file that is not there gives way to the next; one that is there is started.
    let slot = order.iter().copied().find(|slot| {
        let whole = [esp::config(*slot), esp::kernel(*slot), esp::initrd(*slot)];
        whole.iter().all(|path| state.files.contains_key(path))
    })?;
    let made = known().iter().find(|made| {
        state.holds(&esp::config(slot), esp::config_text(slot, &made.cmdline).as_bytes())
            && state.holds(&esp::kernel(slot), made.kernel())
            && state.holds(&esp::initrd(slot), made.initrd())
    })?;
    let found = finds_root(state, made)?;
    Some((made.clone(), found, trial && slot == order[0]))
}

type Loader = fn(&mut State) -> Option<(Made, Slot, bool)>;
const LOADERS: [(&str, Loader); 2] = [("UEFI", by_uefi), ("BIOS", by_bios)];

/// Boots until a version stays that is not on trial; a version that is, never gets well.
fn settles(state: &State, loader: Loader) -> Option<Made> {
    let mut state = state.clone();
    for _ in 0..8 {
        // Otherwise it came up and was reset, or did not even come up.
        if let Some((made, _, false)) = loader(&mut state) {
            return Some(made);
        }
    }
    None
}

/// A disk as the builder makes it, with version 1 in slot a.
fn fresh() -> State {
    let made = made::version(1);
    let roots = [Rc::new(made.root.clone()), Rc::new(vec![0; 100])];
    let mut state = State { roots, ..State::default() };
    state.set(&esp::kept(0, Slot::A), &made.efi);
    state.set(&esp::kernel(Slot::A), made.kernel());
    state.set(&esp::initrd(Slot::A), made.initrd());
    state.set(&esp::config(Slot::A), esp::config_text(Slot::A, &made.cmdline).as_bytes());
    state.set(esp::ENVIRONMENT, &Environment { slot: Slot::A, trial: None }.block());
    state
}

/// What an installation leaves at each moment; the last is how it ends.
fn installing(state: State, running: Slot, made: &Made) -> Vec<State> {
    let update = made::update(made);
    let (manifest, stream) = Stream::open(update.as_slice(), &made::keys()).unwrap();
    let mut recorder = Recorder::new(state, running);
    install(&mut recorder, running, &manifest, stream, &mut |_| {}).unwrap();
    recorder.left
}

fn blessing(state: State, running: Slot) -> Vec<State> {
    let mut recorder = Recorder::new(state, running);
    bless(&mut recorder, running).unwrap();
    recorder.left
}

fn last(mut states: Vec<State>) -> State {
    states.pop().unwrap()
}

/// Boots the trial once and keeps it.
fn kept(mut state: State, loader: Loader) -> State {
    let (_, slot, trial) = loader(&mut state).unwrap();
    assert!(trial);
    last(blessing(state, slot))
}

/// Disks on which an update may begin: what runs, where.
fn beginnings() -> Vec<(&'static str, State, Slot, Made)> {
    let mut all = vec![("new", fresh(), Slot::A, made::version(1))];
    for (name, loader) in LOADERS {
        let updated = kept(last(installing(fresh(), Slot::A, &made::version(2))), loader);
        all.push((name, updated, Slot::B, made::version(2)));
        // Fell back: the trial is used up.
        let mut failed = last(installing(fresh(), Slot::A, &made::version(2)));
        while loader(&mut failed).unwrap().2 {}
        all.push((name, failed, Slot::A, made::version(1)));
    }
    // Broken off at every moment, and begun again.
    let left = installing(fresh(), Slot::A, &made::version(2));
    all.extend(left.into_iter().map(|state| ("broken off", state, Slot::A, made::version(1))));
    all
}

#[test]
fn an_update_that_is_cut_at_any_moment_leaves_the_version_that_ran() {
    let mut cuts = 0;
    for (name, state, running, before) in beginnings() {
        for (moment, left) in installing(state, running, &made::version(3)).iter().enumerate() {
            for (firmware, loader) in LOADERS {
                let settles = settles(left, loader).map(|made| made.version);
                assert_eq!(settles, Some(before.version.clone()), "{name}, {firmware}, {moment}");
                cuts += 1;
            }
        }
    }
    assert!(cuts > 2000, "{cuts}");
}

#[test]
fn a_whole_update_is_tried_and_kept_when_it_serves() {
    for (name, state, running, _) in beginnings() {
        let ready = last(installing(state, running, &made::version(3)));
        for (firmware, loader) in LOADERS {
            let mut state = ready.clone();
            let (made, slot, trial) = loader(&mut state).unwrap();
            let expected = (made::version(3).version, running.other(), true);
            assert_eq!((made.version, slot, trial), expected, "{name}, {firmware}");
            let left = blessing(state, slot);
            for (moment, cut) in left.iter().enumerate() {
                let version = settles(cut, loader).map(|made| made.version);
                let whole = version.is_some();
                assert!(whole, "{name}, {firmware}: the blessing is cut at moment {moment}");
            }
            // The other firmware boots the same from then on.
            for (other, loader) in LOADERS {
                let made = settles(&last(left.clone()), loader).unwrap();
                assert_eq!(made.version, made::version(3).version, "{name}, {firmware}, {other}");
            }
        }
    }
}

#[test]
fn going_back_is_a_trial_of_what_was_before() {
    for (firmware, loader) in LOADERS {
        let updated = kept(last(installing(fresh(), Slot::A, &made::version(2))), loader);
        let mut recorder = Recorder::new(updated, Slot::B);
        go_back(&mut recorder, Slot::B).unwrap();
        for (moment, left) in recorder.left.iter().enumerate() {
            for (_, loader) in LOADERS {
                let made = settles(left, loader).unwrap();
                assert_eq!(made.version, made::version(2).version, "{firmware}, {moment}");
            }
        }
        let back = kept(recorder.now, loader);
        assert_eq!(settles(&back, loader).unwrap().version, made::version(1).version);
        // And forth again.
        let mut recorder = Recorder::new(back, Slot::A);
        go_back(&mut recorder, Slot::A).unwrap();
        let forth = kept(recorder.now, loader);
        assert_eq!(settles(&forth, loader).unwrap().version, made::version(2).version);
    }
    let nothing = go_back(&mut Recorder::new(fresh(), Slot::A), Slot::A);
    assert!(nothing.unwrap_err().contains("Slot b holds no version"));
}

#[test]
fn a_damaged_update_leaves_the_version_that_ran_and_the_next_one_comes() {
    let whole = made::update(&made::version(3));
    for at in (1 << 20..whole.len() - 1024).step_by(20_011) {
        let mut update = whole.clone();
        update[at] ^= 1;
        let (manifest, stream) = Stream::open(update.as_slice(), &made::keys()).unwrap();
        let mut recorder = Recorder::new(fresh(), Slot::A);
        let words = install(&mut recorder, Slot::A, &manifest, stream, &mut |_| {}).unwrap_err();
        assert!(words.contains("damaged") || words.contains("This is no update"), "{words}");
        for (_, loader) in LOADERS {
            let made = settles(&recorder.now, loader).unwrap();
            assert_eq!(made.version, made::version(1).version);
        }
        let next = last(installing(recorder.now, Slot::A, &made::version(2)));
        let (made, _, trial) = by_uefi(&mut next.clone()).unwrap();
        assert_eq!((made.version, trial), (made::version(2).version, true));
    }
}

/// The model finds what it is for: a disk on which the running version's kernel was touched.
#[test]
fn the_model_sees_a_disk_that_does_not_boot() {
    for (path, loader) in [
        (esp::kept(0, Slot::A), by_uefi as Loader),
        (esp::kernel(Slot::A), by_bios as Loader),
        (esp::initrd(Slot::A), by_bios as Loader),
        (esp::config(Slot::A), by_bios as Loader),
    ] {
        let mut state = fresh();
        Rc::make_mut(state.files.get_mut(&path).unwrap())[0] ^= 1;
        assert_eq!(settles(&state, loader), None, "{path}");
    }
    let mut state = fresh();
    Rc::make_mut(&mut state.roots[0])[5000] ^= 1;
    assert!(LOADERS.iter().all(|(_, loader)| settles(&state, *loader).is_none()));
}

//! Reading the machine's settings. Which file counts is decided by what the two hold; then it is carried out.
//!
//! A file that is damaged or missing is one thing: what it held is known to be gone. One that the disk does not give is
//! another: the disk may give it tomorrow.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Machine, last_good};
use crate::sys;

/// How many files of one name are kept aside that may be whole. Who has as many has a disk that fails more and more.
const KEPT_ASIDE_MAX: usize = 10;

/// The settings on the disk are not known: neither they nor those before them can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(pub(crate) String);

/// What a file of settings holds.
enum Held {
    Settings(Machine),
    /// It is not there.
    Nothing,
    /// No settings; why.
    Damaged(String),
    /// The disk does not say; why.
    Unreadable(String),
}

impl Machine {
    /// Reads `path`. A file that is damaged, or that cannot be read, is kept aside, and the last good one counts and
    /// takes its place, if there is one; the second value says so.
    ///
    /// # Errors
    /// It is not known what the settings are: nothing was touched.
    pub(crate) fn load(
        path: &Path,
        zones: &Path,
    ) -> Result<(Option<Self>, Option<String>), Unreadable> {
        let held = match held_in(path, zones) {
            Held::Settings(machine) => return Ok((Some(machine), None)),
            other => other,
        };
        let copy = held_in(&last_good(path), zones);
        let last = match (copy, &held) {
            (Held::Settings(last), _) => last,
            (Held::Nothing, Held::Nothing) => return Ok((None, None)),
            (Held::Unreadable(why), _) => return Err(Unreadable(why)),
            (_, Held::Unreadable(why)) => return Err(Unreadable(why.clone())),
            (Held::Nothing | Held::Damaged(_), _) => {
                let words = "damaged, so the seed's or else the defaults are used: set them again";
                let (_, problem) = set_aside(path, held);
                return Ok((None, Some(format!("{words}. {problem}"))));
            }
        };
        let word = if matches!(held, Held::Unreadable(_)) { "unreadable" } else { "damaged" };
        let (may_be_replaced, problem) = set_aside(path, held);
        let kept = match may_be_replaced.then(|| last.store(path)) {
            Some(Err(why)) => format!(" They cannot be kept: {why}."),
            // Why they are not is said in any case.
            Some(Ok(())) | None => String::new(),
        };
        // What matters first: a long reason is cut on the front page.
        let words = format!("{word}, so those before them are used: look whether they are right");
        Ok((Some(last), Some(format!("{words}.{kept} {problem}"))))
    }

    /// As [`Self::load`]; what cannot be read is given up and kept aside.
    pub(crate) fn load_or_give_up(path: &Path, zones: &Path) -> (Option<Self>, Option<String>) {
        if let Ok(loaded) = Self::load(path, zones) {
            return loaded;
        }
        let files = [path, &last_good(path)].map(|file| (file.to_owned(), held_in(file, zones)));
        let lost = files.into_iter().filter(|(_, held)| matches!(held, Held::Unreadable(_)));
        let mut problems: Vec<String> = lost.map(|(file, held)| set_aside(&file, held).1).collect();
        // The disk may give again what it did not give before. One that it keeps as well is given up all the same.
        let (machine, problem) = Self::load(path, zones).unwrap_or_default();
        problems.extend(problem);
        let words =
            "given up, because they could not be read: look through them, and set them again";
        (machine, Some(format!("{words}. {}", problems.join("; "))))
    }

    /// Whether it is known that `path` and its copy hold no settings. Changes nothing.
    pub(crate) fn is_lost(path: &Path, zones: &Path) -> bool {
        let holds_none =
            |file: &Path| matches!(held_in(file, zones), Held::Nothing | Held::Damaged(_));
        holds_none(path) && holds_none(&last_good(path))
    }
}

/// Makes way for a file that is written anew: one that cannot be read may be whole, and is kept aside.
///
/// # Errors
/// It cannot be kept aside, so it is not to be written over.
pub(super) fn make_way(path: &Path) -> io::Result<()> {
    let lost = match fs::read(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => error,
        Ok(_) | Err(_) => return Ok(()),
    };
    let (may_be_replaced, words) =
        set_aside(path, Held::Unreadable(format!("{}: {lost}", path.display())));
    if !may_be_replaced {
        return Err(io::Error::other(words));
    }
    sys::say(&words);
    Ok(())
}

fn held_in(path: &Path, zones: &Path) -> Held {
    match fs::read(path) {
        Ok(bytes) => match Machine::parse_bytes(&bytes, zones) {
            Ok(machine) => Held::Settings(machine),
            Err(error) => Held::Damaged(error.to_string()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Held::Nothing,
        Err(error) => Held::Unreadable(format!("{}: {error}", path.display())),
    }
}

/// Keeps a file aside that holds no settings. Whether another one may take its place, and what is to be said of it:
/// one that may be whole is never written over.
fn set_aside(path: &Path, held: Held) -> (bool, String) {
    let (aside, error, may_be_whole) = match held {
        Held::Settings(_) | Held::Nothing => {
            return (true, format!("{} is missing", path.display()));
        }
        Held::Damaged(error) => (Ok(named_aside(path, "broken")), error, false),
        Held::Unreadable(error) => (free_aside(path), error, true),
    };
    match aside.and_then(|aside| fs::rename(path, &aside).map(|()| aside)) {
        Ok(aside) => (true, format!("{error} (kept as {})", aside.display())),
        Err(why) if may_be_whole => {
            (false, format!("{error} (could not be kept aside: {why}; it is not written over)"))
        }
        Err(why) => (true, format!("{error} (could not be kept aside: {why})")),
    }
}

fn named_aside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}.{ending}", path.display()))
}

/// A name for a file that may be whole, which replaces no other one.
fn free_aside(path: &Path) -> io::Result<PathBuf> {
    let numbered = (1..KEPT_ASIDE_MAX).map(|number| format!("unreadable.{number}"));
    let mut names = std::iter::once("unreadable".to_owned()).chain(numbered);
    // One of which it is not known counts as taken.
    let is_free = |aside: &Path| {
        let found = fs::symlink_metadata(aside);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let free = names.find_map(|name| Some(named_aside(path, &name)).filter(|aside| is_free(aside)));
    free.ok_or_else(|| io::Error::other(format!("there are {KEPT_ASIDE_MAX} already")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the time zones, the name of the settings, and settings of this name in the last good file.
    fn disk(last: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("UTC"), b"TZif2").unwrap();
        let path = folder.path().join("machine.toml");
        if let Some(last) = last {
            named(last).store(&path).unwrap();
            fs::remove_file(&path).unwrap();
        }
        (folder, path)
    }

    fn named(hostname: &str) -> Machine {
        Machine { hostname: hostname.to_owned(), ..Machine::default() }
    }

    /// Reading it is an error that is neither "it is not there" nor one of what it holds, as with a lost sector.
    fn lose(path: &Path) {
        if path.exists() {
            fs::remove_file(path).unwrap();
        }
        fs::create_dir(path).unwrap();
    }

    /// The names under which a file can be kept aside.
    fn asides(path: &Path) -> Vec<PathBuf> {
        let name = |ending: String| PathBuf::from(format!("{}.unreadable{ending}", path.display()));
        let others = (1..10).map(|number| name(format!(".{number}")));
        std::iter::once(name(String::new())).chain(others).collect()
    }

    /// No other one can be kept aside.
    fn take_names_aside(path: &Path) {
        asides(path).iter().filter(|aside| !aside.exists()).for_each(|aside| {
            fs::write(aside, "of an earlier time").unwrap();
        });
    }

    #[test]
    fn settings_that_cannot_be_read_are_not_settings_that_are_not_there() {
        for copy_is in ["lost", "absent", "damaged"] {
            let (folder, path) = disk(None);
            lose(&path);
            let last = last_good(&path);
            match copy_is {
                "lost" => lose(&last),
                "damaged" => fs::write(&last, "version = \"one\"").unwrap(),
                _ => {}
            }
            let why = Machine::load(&path, folder.path()).unwrap_err().to_string();
            assert!(why.contains("machine.toml"), "{why}");
            assert!(path.is_dir(), "it is where it was, to be read when the disk gives it");
            assert!(!path.with_extension("toml.unreadable").exists());
        }
    }

    #[test]
    fn a_copy_that_cannot_be_read_is_waited_for_where_it_is_all_there_is() {
        for content in [None, Some("version = \"one\"")] {
            let (folder, path) = disk(None);
            lose(&last_good(&path));
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            let why = Machine::load(&path, folder.path()).unwrap_err().to_string();
            assert!(why.contains("machine.toml.last"), "{why}");
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), content, "nothing was touched");
        }
        let (folder, path) = disk(None);
        named("gate7").store(&path).unwrap();
        lose(&last_good(&path));
        let loaded = Machine::load(&path, folder.path());
        assert_eq!(loaded, Ok((Some(named("gate7")), None)), "not of those that are whole");
    }

    #[test]
    fn settings_that_cannot_be_read_are_kept_aside_for_their_copy_to_be_used() {
        let (folder, path) = disk(Some("gate7"));
        lose(&path);
        let (loaded, problem) = Machine::load(&path, folder.path()).unwrap();
        assert_eq!(loaded, Some(named("gate7")));
        let problem = problem.unwrap();
        let says = ["unreadable, so those before them are used", "machine.toml.unreadable)"];
        assert!(says.iter().all(|words| problem.contains(words)), "{problem}");
        assert!(path.with_extension("toml.unreadable").is_dir());
        assert_eq!(Machine::load(&path, folder.path()), Ok((Some(named("gate7")), None)));
    }

    #[test]
    fn settings_that_are_given_up_are_kept_aside_and_only_if_they_cannot_be_read() {
        let (folder, path) = disk(None);
        let last = last_good(&path);
        lose(&path);
        lose(&last);
        let (loaded, problem) = Machine::load_or_give_up(&path, folder.path());
        assert_eq!(loaded, None);
        let problem = problem.unwrap();
        let says = ["given up", "machine.toml.unreadable)", "machine.toml.last.unreadable)"];
        assert!(says.iter().all(|words| problem.contains(words)), "{problem}");
        assert!(path.with_extension("toml.unreadable").is_dir());
        assert!(path.with_extension("toml.last.unreadable").is_dir());
        assert_eq!(Machine::load(&path, folder.path()), Ok((None, None)), "as on a new appliance");
        named("gate7").store(&path).unwrap();
        let kept = (Some(named("gate7")), None);
        assert_eq!(Machine::load_or_give_up(&path, folder.path()), kept, "read in the end");
        // One that cannot be moved is given up as well.
        take_names_aside(&path);
        fs::remove_file(&last).unwrap();
        lose(&path);
        let (loaded, problem) = Machine::load_or_give_up(&path, folder.path());
        assert!(loaded.is_none() && problem.unwrap().contains("could not be kept aside"));
    }

    #[test]
    fn settings_that_cannot_be_read_nor_kept_aside_are_not_written_over() {
        let (folder, path) = disk(Some("gate7"));
        lose(&path);
        take_names_aside(&path);
        let (loaded, problem) = Machine::load(&path, folder.path()).unwrap();
        assert_eq!(loaded, Some(named("gate7")));
        let problem = problem.unwrap();
        assert!(problem.contains("could not be kept aside"), "{problem}");
        assert!(!problem.contains("They cannot be kept"), "it is not tried: {problem}");
        assert!(path.is_dir());
    }

    /// Goal: what may be whole is not lost to what may be whole. Method: names that lead to folders, each to another one:
    /// they are not read, and each takes the place of any other where it may.
    #[test]
    fn what_is_kept_aside_replaces_nothing_that_was_kept_aside_before() {
        let (folder, path) = disk(Some("gate7"));
        let numbered = |number: usize| folder.path().join(number.to_string());
        let lost = |number: usize| {
            fs::create_dir(numbered(number)).unwrap();
            let _absent = fs::remove_file(&path);
            std::os::unix::fs::symlink(numbered(number), &path).unwrap();
            let (loaded, problem) = Machine::load(&path, folder.path()).unwrap();
            assert_eq!(loaded, Some(named("gate7")));
            problem.unwrap()
        };
        let asides = asides(&path);
        for (number, aside) in asides.iter().enumerate() {
            let problem = lost(number);
            assert_eq!(fs::read_link(&asides[0]).unwrap(), numbered(0), "not replaced");
            assert!(problem.contains(&format!("(kept as {})", aside.display())), "{problem}");
        }
        for number in [10, 11] {
            let problem = lost(number);
            assert!(problem.contains("could not be kept aside: there are 10 already"), "{problem}");
            assert_eq!(fs::read_link(&path).unwrap(), numbered(number), "nor is it written over");
        }
        for (number, aside) in asides.iter().enumerate() {
            assert_eq!(fs::read_link(aside).unwrap(), numbered(number));
        }
    }

    /// Goal: no change is written over settings that may be whole. Method: names that lead to themselves, which are not
    /// read, and which every file replaces.
    #[test]
    fn a_change_is_not_written_over_settings_that_cannot_be_read() {
        let (folder, path) = disk(None);
        let last = last_good(&path);
        let lose = |path: &Path| std::os::unix::fs::symlink(path, path).unwrap();
        let is_lost = |path: &Path| path.is_symlink();
        lose(&path);
        lose(&last);
        named("gate7").store(&path).unwrap();
        let kept = Ok((Some(named("gate7")), None));
        assert_eq!(Machine::load(&path, folder.path()), kept);
        assert_eq!(Machine::load(&last, folder.path()), kept, "and the copy");
        assert!(is_lost(&asides(&path)[0]) && is_lost(&asides(&last)[0]));
        fs::remove_file(&path).unwrap();
        lose(&path);
        for (number, aside) in asides(&path).iter().enumerate().skip(1) {
            fs::write(aside, number.to_string()).unwrap();
        }
        let why = named("gate8").store(&path).unwrap_err().to_string();
        let says = ["machine.toml: ", "could not be kept aside", "it is not written over"];
        assert!(says.iter().all(|words| why.contains(words)), "{why}");
        assert!(is_lost(&path));
        assert_eq!(Machine::load(&last, folder.path()), kept, "nor is the copy");
        // As soon as there is room for it aside.
        fs::remove_file(&asides(&path)[9]).unwrap();
        named("gate8").store(&path).unwrap();
        assert_eq!(Machine::load(&path, folder.path()), Ok((Some(named("gate8")), None)));
        assert!(is_lost(&asides(&path)[9]));
    }
}

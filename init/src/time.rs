//! The time zone as a real zone of the tz database, and chrony's configuration.
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Component, Path},
};

/// The tz database.
pub(crate) const ZONES: &str = "/usr/share/zoneinfo";
const LOCALTIME: &str = "/run/etc/localtime";
/// chrony's configuration, made anew whenever its servers change.
pub(crate) const CHRONY_CONF: &str = "/run/chrony/chrony.conf";
/// The hypervisor's clock, where it offers one.
const HOST_CLOCK: &str = "/dev/ptp0";
const TZIF_MAGIC: &[u8] = b"TZif";

/// Whether `name` is a zone of the database at `zones`: a plain relative path to a TZif file.
pub(crate) fn is_zone(zones: &Path, name: &str) -> bool {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    !name.is_empty()
        && plain
        && fs::read(zones.join(path)).is_ok_and(|content| content.starts_with(TZIF_MAGIC))
}

/// Regions of the database (`Asia`), in order, with `Etc` and single zones such as `UTC` left out.
pub(crate) fn regions(zones: &Path) -> Vec<String> {
    names(zones).into_iter().filter(|name| zones.join(name).is_dir() && name != "Etc").collect()
}

/// Cities of a region (`Seoul`, `Argentina/Salta`), in order.
pub(crate) fn cities(zones: &Path, region: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in names(&zones.join(region)) {
        let inside = zones.join(region).join(&name);
        if inside.is_dir() {
            found.extend(names(&inside).into_iter().map(|city| format!("{name}/{city}")));
        } else {
            found.push(name);
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let upper = |name: &String| name.starts_with(|c: char| c.is_ascii_uppercase());
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(upper)
        .collect();
    names.sort();
    names
}

/// Makes `zone` the machine's: whoever reads /etc/localtime from now on sees it.
///
/// # Errors
/// What the file system says.
pub(crate) fn set_zone(zone: &str) -> io::Result<()> {
    let fresh = format!("{LOCALTIME}.new");
    match fs::remove_file(&fresh) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(Path::new(ZONES).join(zone), &fresh)?;
    fs::rename(&fresh, LOCALTIME)
}

/// chrony's configuration. Steps the clock whenever it is off, also after a VM was suspended for
/// hours: requests to S3 are refused when it is off by a quarter of an hour.
pub(crate) fn chrony_conf(servers: &[String], host_clock: bool) -> String {
    let mut conf = String::from(
        "user chrony\ndriftfile /var/lib/chrony/drift\nbindcmdaddress /run/chrony/chronyd.sock\n\
         cmdport 0\nmakestep 1.0 -1\nrtcsync\npidfile /run/chrony/chronyd.pid\n",
    );
    for server in servers {
        conf.push_str(&format!("server {server} iburst\n"));
    }
    if host_clock {
        conf.push_str(&format!("refclock PHC {HOST_CLOCK} poll 3 dpoll -2 offset 0 stratum 2\n"));
    }
    conf
}

/// What keeps the clock right, for the console.
pub(crate) fn keeper(servers: &[String], host_clock: bool) -> String {
    match (servers, host_clock) {
        ([], false) => "not kept right: name NTP servers under System Time Management (or by DHCP \
                        option 42, or in the seed); S3 refuses a clock that is 15 minutes off"
            .to_owned(),
        ([], true) => "follows the hypervisor's".to_owned(),
        (servers, _) => format!("follows NTP: {}", servers.join(", ")),
    }
}

/// Whether the hypervisor offers its clock.
pub(crate) fn has_host_clock() -> bool {
    Path::new(HOST_CLOCK).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_files_of_the_database_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let zones = dir.path().join("zoneinfo");
        fs::create_dir_all(zones.join("America/Argentina")).unwrap();
        for zone in ["UTC", "America/Lima", "America/Argentina/Salta"] {
            fs::write(zones.join(zone), b"TZif2...").unwrap();
        }
        fs::write(zones.join("zone.tab"), b"# text").unwrap();
        fs::write(dir.path().join("secret"), b"TZif2").unwrap();
        for (name, is) in [
            ("UTC", true),
            ("America/Argentina/Salta", true),
            ("America", false),
            ("zone.tab", false),
            ("../secret", false),
            ("/etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(is_zone(&zones, name), is, "{name}");
        }
        assert_eq!(regions(&zones), ["America"]);
        assert_eq!(cities(&zones, "America"), ["Argentina/Salta", "Lima"]);
    }

    #[test]
    fn chrony_is_told_every_source() {
        let conf = chrony_conf(&["192.0.2.1".to_owned(), "ntp.example".to_owned()], true);
        assert!(conf.contains("server 192.0.2.1 iburst\nserver ntp.example iburst\nrefclock PHC"));
        assert!(!chrony_conf(&[], false).contains("server"));
    }
}

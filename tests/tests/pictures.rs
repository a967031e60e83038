//! Goal: pictures of every page of the console on the screen, to be looked at: what a golden page cannot show are
//! colours, the cursor, and what the kernel writes between. Method: on a running appliance, each entry of each menu is
//! chosen by keys, and left again with Escape, which changes nothing. The long form only: `cargo prove pictures`.
use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    lab::{Alone, BOOT_LIMIT},
    pages::{TITLE, entries, log_in_on_serial, page_on_screen, status_on_serial},
    qemu::Machine,
    wait::poll_until,
};

/// From a key to what it shows, emulated: a test of the network waits for what does not answer.
const PAGE_LIMIT: Duration = Duration::from_secs(240);
/// [`e2e::pages::PASSWORD`] on a keyboard, and then the button.
const PASSWORD_KEYS: [&str; 15] =
    ["c", "o", "r", "r", "e", "c", "t", "spc", "h", "o", "r", "s", "e", "ret", "ret"];
/// Menus below each other.
const DEPTH_MAX: usize = 3;
const MENU: &str = "Enter command:";
const UNDER_WAY: &str = "what has begun goes on";
/// Of what is under way, what does not end by itself.
const OFFERED: &str = "aiting for the download";

const NOTHING_YET: &str = "Nothing of this kind so far.";
const READ: [&str; 5] = [
    "Logs: Everything",
    "Logs: Gateway\n",
    "Logs: Network",
    "Logs: Machine (PID 1)",
    "Logs: Kernel",
];

/// Somebody at the screen with a camera.
struct Photographer {
    machine: Machine,
    folder: PathBuf,
    taken: usize,
}

impl Photographer {
    /// The page on the screen, when it has been drawn to its end and what it is about is over.
    fn page(&mut self, is_it: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let page = poll_until("the page on the screen", PAGE_LIMIT, || {
            let page = self.machine.screen_text(TITLE)?.unwrap_or_default();
            let is_drawn = page == last;
            last = page;
            let is_over = !last.contains(UNDER_WAY) || last.contains(OFFERED);
            // The journal takes a while to be looked through; there are lines of these from every boot.
            let is_read = !last.contains(NOTHING_YET) || !READ.iter().any(|log| last.contains(log));
            let is_there = is_it(&last) && is_over && is_read;
            Ok((is_drawn && is_there).then(|| last.clone()))
        });
        page.with_context(|| format!("the screen shows:\n{last}"))
    }

    fn picture(&mut self, name: &str) -> Result<()> {
        self.taken += 1;
        let picture = self.folder.join(format!("{name}.png"));
        self.machine.picture(&picture)?;
        ensure!(fs::read(&picture)?.starts_with(b"\x89PNG"), "{} is no PNG", picture.display());
        println!("proof: {}", picture.display());
        Ok(())
    }

    /// Each page to which a menu leads, and in the end the menu again.
    fn walk(&mut self, name: &str, menu: &str, depth: usize) -> Result<()> {
        let title = title(menu);
        for (number, label) in entries(menu) {
            let digits: Vec<String> = number.to_string().chars().map(String::from).collect();
            let mut keys: Vec<&str> = digits.iter().map(String::as_str).collect();
            keys.push("ret");
            self.machine.press(&keys)?;
            let page = self.page(|page| self::title(page) != title)?;
            let name = format!("{name}-{number:02}-{}", short(&label));
            self.picture(&name)?;
            if page.contains(MENU) && depth < DEPTH_MAX {
                self.walk(&name, &page, depth + 1)?;
            }
            self.machine.press(&["esc"])?;
            let back = format!("leaving {label}");
            self.page(|page| self::title(page) == title && page.contains(MENU)).context(back)?;
        }
        Ok(())
    }
}

/// A page's title stands below the bar.
fn title(page: &str) -> String {
    page.lines().nth(1).unwrap_or_default().trim().to_owned()
}

/// A label as part of a file's name.
fn short(label: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let words: String = label.chars().map(plain).take(24).collect();
    words.trim_matches('-').to_owned()
}

fn pictures() -> Result<()> {
    let alone = Alone::new("pictures")?;
    let mut appliance = alone.power_on()?;
    status_on_serial(&appliance.serial, ":/sales /mnt/sales", BOOT_LIMIT)?;
    log_in_on_serial(&mut appliance.serial, PAGE_LIMIT)?;
    let folder = alone.parts.workspace.out().join("pictures");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut machine = appliance.machine;
    page_on_screen(&mut machine, "Enter: log in", PAGE_LIMIT)?;
    let mut photographer = Photographer { machine, folder, taken: 0 };
    photographer.picture("front")?;
    photographer.machine.press(&["ret"])?;
    photographer.page(|page| page.contains("[ Log in ]"))?;
    photographer.picture("log-in")?;
    photographer.machine.press(&PASSWORD_KEYS)?;
    let menu = photographer.page(|page| page.contains("x: exit session"))?;
    photographer.picture("main")?;
    photographer.walk("main", &menu, 1)?;
    println!("proof: {} pictures", photographer.taken);
    Ok(())
}

mod long {
    #[test]
    #[ignore = "some minutes: cargo prove pictures"]
    fn every_page_of_the_console_is_photographed() {
        if let Err(error) = super::pictures() {
            panic!("{error:?}");
        }
    }
}

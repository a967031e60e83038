//! What keys do: a pure state machine. The wishes it utters are granted by the console.
use super::pages::{COLUMNS, wrapped};
use crate::shutdown::Ending;

/// Lines of a list that fit on a page.
pub(super) const LIST_LINES: usize = 14;
/// Lines of text that fit on a page.
pub(super) const TEXT_LINES: usize = 19;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Backspace,
    Escape,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// The line was hung up.
    EndOfInput,
}

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    /// Status and main menu.
    #[default]
    Main,
    /// A list to choose from by number or arrows.
    List(List),
    /// Text to page through.
    Text { title: String, lines: Vec<String>, from: usize },
    /// A question before something that cuts clients off.
    Ask(Ending),
    /// One message.
    Said(String),
}

/// A list to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) title: String,
    /// The region that cities belong to; none for the list of regions.
    region: Option<String>,
    pub(super) entries: Vec<String>,
    pub(super) selected: usize,
    /// What was typed so far: a number or the beginning of a name.
    pub(super) typed: String,
}

/// Something that the menu cannot do by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Regions,
    Cities(String),
    SetZone(String),
    Support,
    End(Ending),
}

/// Entries of the main menu.
pub(super) const MAIN: [&str; 5] = ["Status", "Time zone", "Support", "Reboot", "Shut down"];

/// The menu.
#[derive(Clone, Debug, Default)]
pub(super) struct Menu {
    pub(super) page: Page,
    /// Entry of the main menu under the arrows.
    pub(super) selected: usize,
}

impl Menu {
    /// A key was pressed.
    pub(super) fn press(&mut self, key: Key) -> Option<Wish> {
        match &mut self.page {
            Page::Main => self.press_main(key),
            Page::List(list) => match list.press(key) {
                Pressed::Stay => None,
                Pressed::Back => {
                    self.page = Page::Main;
                    None
                }
                Pressed::Chosen(wish) => Some(wish),
            },
            Page::Text { lines, from, .. } => {
                match key {
                    Key::Down | Key::Enter | Key::Char(' ') if *from + TEXT_LINES < lines.len() => {
                        *from += if key == Key::Down { 1 } else { TEXT_LINES };
                    }
                    Key::PageDown if *from + TEXT_LINES < lines.len() => *from += TEXT_LINES,
                    Key::Up => *from = from.saturating_sub(1),
                    Key::PageUp => *from = from.saturating_sub(TEXT_LINES),
                    Key::Home => *from = 0,
                    Key::End => *from = lines.len().saturating_sub(TEXT_LINES),
                    Key::Down | Key::PageDown | Key::Backspace | Key::EndOfInput => {}
                    Key::Char(_) | Key::Enter | Key::Escape => self.page = Page::Main,
                }
                None
            }
            Page::Ask(ending) => {
                let ending = *ending;
                match key {
                    Key::Char('y' | 'Y') => return Some(Wish::End(ending)),
                    Key::Char('n' | 'N') | Key::Escape | Key::Enter => self.page = Page::Main,
                    _ => {}
                }
                None
            }
            Page::Said(_) => {
                self.page = Page::Main;
                None
            }
        }
    }

    fn press_main(&mut self, key: Key) -> Option<Wish> {
        match key {
            Key::Up => self.selected = self.selected.checked_sub(1).unwrap_or(MAIN.len() - 1),
            Key::Down => self.selected = (self.selected + 1) % MAIN.len(),
            Key::Enter => return self.choose(self.selected),
            Key::Char(digit) => {
                let number = digit.to_digit(10).and_then(|n| usize::try_from(n).ok())?;
                let entry = number.checked_sub(1).filter(|entry| *entry < MAIN.len())?;
                self.selected = entry;
                return self.choose(entry);
            }
            Key::Home => self.selected = 0,
            Key::End => self.selected = MAIN.len() - 1,
            Key::PageUp | Key::PageDown | Key::Backspace | Key::Escape | Key::EndOfInput => {}
        }
        None
    }

    fn choose(&mut self, entry: usize) -> Option<Wish> {
        match entry {
            1 => Some(Wish::Regions),
            2 => Some(Wish::Support),
            3 => {
                self.page = Page::Ask(Ending::Reboot);
                None
            }
            4 => {
                self.page = Page::Ask(Ending::PowerOff);
                None
            }
            _ => None,
        }
    }

    /// Shows the regions of the world.
    pub(super) fn show_regions(&mut self, entries: Vec<String>) {
        let title = "Time zone: choose a region".to_owned();
        let typed = String::new();
        self.page = Page::List(List { title, region: None, entries, selected: 0, typed });
    }

    /// Shows the cities of a region.
    pub(super) fn show_cities(&mut self, region: String, entries: Vec<String>) {
        let title = format!("Time zone: choose a city in {region}");
        let typed = String::new();
        self.page = Page::List(List { title, region: Some(region), entries, selected: 0, typed });
    }

    /// Shows what support may ask for, its end first.
    pub(super) fn show_support(&mut self, lines: &[String]) {
        let lines: Vec<String> = lines.iter().flat_map(|line| wrapped(line, COLUMNS)).collect();
        let from = lines.len().saturating_sub(TEXT_LINES);
        let title = "Support: clock, network, memory and journal".to_owned();
        self.page = Page::Text { title, lines, from };
    }

    /// Shows one message.
    pub(super) fn say(&mut self, message: String) {
        self.page = Page::Said(message);
    }
}

enum Pressed {
    Stay,
    Back,
    Chosen(Wish),
}

impl List {
    fn press(&mut self, key: Key) -> Pressed {
        let last = self.entries.len().saturating_sub(1);
        match key {
            Key::Up => self.selected = self.selected.saturating_sub(1),
            Key::Down => self.selected = (self.selected + 1).min(last),
            Key::PageUp => self.selected = self.selected.saturating_sub(LIST_LINES),
            Key::PageDown => self.selected = (self.selected + LIST_LINES).min(last),
            Key::Home => self.selected = 0,
            Key::End => self.selected = last,
            Key::Escape => return Pressed::Back,
            Key::Backspace => {
                self.typed.pop();
                self.follow_typed();
            }
            Key::Char(c) => {
                self.typed.push(c);
                self.follow_typed();
            }
            Key::Enter => return self.chosen(),
            Key::EndOfInput => {}
        }
        Pressed::Stay
    }

    /// Moves to what was typed: a number, or the first name that begins so.
    fn follow_typed(&mut self) {
        let found = match self.typed.parse::<usize>() {
            Ok(number) => number.checked_sub(1).filter(|entry| *entry < self.entries.len()),
            Err(_) => {
                let typed = self.typed.to_lowercase();
                self.entries.iter().position(|entry| entry.to_lowercase().starts_with(&typed))
            }
        };
        match found {
            Some(entry) => self.selected = entry,
            None if self.typed.is_empty() => {}
            None => {
                self.typed.pop();
            }
        }
    }

    fn chosen(&self) -> Pressed {
        let Some(entry) = self.entries.get(self.selected) else { return Pressed::Back };
        Pressed::Chosen(match &self.region {
            None => Wish::Cities(entry.clone()),
            Some(region) => Wish::SetZone(format!("{region}/{entry}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_text(menu: &mut Menu, text: &str) -> Option<Wish> {
        let mut last = None;
        for c in text.chars() {
            let key = if c == '\n' { Key::Enter } else { Key::Char(c) };
            last = menu.press(key);
        }
        last
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn seoul_is_chosen_by_typing_or_by_arrows() {
        let mut menu = Menu::default();
        assert_eq!(type_text(&mut menu, "2"), Some(Wish::Regions));
        menu.show_regions(strings(&["Africa", "America", "Asia"]));
        assert_eq!(type_text(&mut menu, "as\n"), Some(Wish::Cities("Asia".to_owned())));
        menu.show_cities("Asia".to_owned(), strings(&["Samarkand", "Seoul", "Tokyo"]));
        assert_eq!(type_text(&mut menu, "2\n"), Some(Wish::SetZone("Asia/Seoul".to_owned())));
        menu.show_cities("Asia".to_owned(), strings(&["Samarkand", "Seoul", "Tokyo"]));
        assert_eq!(menu.press(Key::Down), None);
        assert_eq!(menu.press(Key::Enter), Some(Wish::SetZone("Asia/Seoul".to_owned())));
    }

    #[test]
    fn what_matches_nothing_is_not_taken() {
        let mut menu = Menu::default();
        menu.show_regions(strings(&["Africa", "Asia"]));
        type_text(&mut menu, "x9");
        let Page::List(list) = &menu.page else { panic!("still the list") };
        assert_eq!((list.typed.as_str(), list.selected), ("", 0));
    }

    #[test]
    fn ending_the_machine_is_asked_first_and_enter_means_no() {
        for (entry, ending) in [("4", Ending::Reboot), ("5", Ending::PowerOff)] {
            let mut menu = Menu::default();
            assert_eq!(type_text(&mut menu, entry), None);
            assert_eq!(menu.page, Page::Ask(ending));
            assert_eq!(menu.press(Key::Enter), None);
            assert_eq!(menu.page, Page::Main);
            assert_eq!(type_text(&mut menu, &format!("{entry}y")), Some(Wish::End(ending)));
        }
    }

    #[test]
    fn arrows_go_round_the_main_menu() {
        let mut menu = Menu::default();
        menu.press(Key::Up);
        assert_eq!(menu.press(Key::Enter), None);
        assert_eq!(menu.page, Page::Ask(Ending::PowerOff));
        menu.press(Key::Escape);
        menu.press(Key::Down);
        menu.press(Key::Down);
        assert_eq!(menu.press(Key::Enter), Some(Wish::Regions));
    }

    #[test]
    fn long_texts_are_paged_from_their_end() {
        let mut menu = Menu::default();
        menu.show_support(&(0..50).map(|n| n.to_string()).collect::<Vec<_>>());
        let from = |menu: &Menu| match menu.page {
            Page::Text { from, .. } => from,
            _ => panic!("no text"),
        };
        assert_eq!(from(&menu), 50 - TEXT_LINES);
        menu.press(Key::Up);
        assert_eq!(from(&menu), 50 - TEXT_LINES - 1);
        menu.press(Key::Home);
        assert_eq!(from(&menu), 0);
        menu.press(Key::PageDown);
        assert_eq!(from(&menu), TEXT_LINES);
        menu.press(Key::End);
        menu.press(Key::PageUp);
        assert_eq!(from(&menu), 50 - 2 * TEXT_LINES);
        menu.press(Key::Char('q'));
        assert_eq!(menu.page, Page::Main);
    }
}

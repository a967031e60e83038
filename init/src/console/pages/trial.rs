//! Settings on trial: the page that counts down, on every console where somebody is logged in.
use super::addresses;
use crate::{
    console::{
        command::Command,
        grid::{Line, paragraph},
        page::{Kind, Page},
        question::either,
        view::View,
    },
    machine::Machine,
};

const TITLE: &str = "Keep these settings?";

/// Counts down to `until`, in seconds since boot.
pub(in crate::console) fn page(until: u64) -> Page {
    let shows = move |view: &View| {
        let left = until.saturating_sub(view.now.as_secs());
        let words = format!(
            "The network's new settings are in use. Unless somebody keeps them, those before them are \
             used again in {left} seconds."
        );
        let mut lines = paragraph(&words);
        lines.push(Line::empty());
        let addresses = addresses::summary(view);
        lines.extend(addresses.into_iter().map(|line| Line::plain(format!("   {line}"))));
        lines
    };
    either(TITLE, Box::new(shows), TITLE, Command::Confirm, Command::Revert)
}

/// Whether it is that page.
pub(in crate::console) fn is(page: &Page) -> bool {
    page.title == TITLE && matches!(page.kind, Kind::Question(_))
}

/// The trial ended, and not by an answer given here.
pub(in crate::console) fn over(
    trial: Option<&Machine>,
    settings: &Result<Machine, String>,
) -> Page {
    let kept = trial.is_some_and(|trial| settings.as_ref() == Ok(trial));
    let words = if kept {
        "The settings were kept on another console."
    } else {
        "The settings were taken back: those before them are used again."
    };
    Page::said("The trial is over", paragraph(words))
}

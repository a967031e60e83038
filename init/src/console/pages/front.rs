//! The front page: what the appliance is and how it is, for everybody who stands before it.
use super::{log_in, status};
use crate::console::{
    page::{Kind, Page, Step},
    text::Text,
};

/// The page that is shown while nobody is logged in.
pub(in crate::console) fn page() -> Page {
    let text = Text::live(Box::new(status::summary)).with_enter(
        |view| {
            let word = match view.password_set {
                Ok(false) if view.machine.settings_unreadable.is_some() => {
                    "if the settings are lost"
                }
                Ok(false) => "set the password",
                Ok(true) | Err(_) => "log in",
            };
            word.to_owned()
        },
        |view| Step::Open(log_in::page(view)),
    );
    // x has nowhere to go from here.
    Page { title: "Status".to_owned(), kind: Kind::Text(text) }
}

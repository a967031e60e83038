//! Logging in, and the password: set at the first visit, changed later.
use super::refused;
use crate::{
    console::{
        command::Command,
        form::{Problem, Values, form, secret},
        grid::{Line, paragraph},
        page::{Page, Step},
        question::question,
        view::View,
    },
    password::{BYTES_MAX, BYTES_MIN},
};

const PASSWORD: &str = "Password";
const NEW: &str = "New password";
const AGAIN: &str = "The same again";

/// Asks for the password, or for a first one.
pub(in crate::console) fn page(view: &View) -> Page {
    match &view.password_set {
        Ok(true) => log_in(),
        Ok(false) if view.machine.settings_unreadable.is_some() => lost(),
        Ok(false) => first(),
        Err(why) => refused("Log in", &format!("Nobody can log in at the moment: {why}.")),
    }
}

fn log_in() -> Page {
    let help = "Forgotten? A seed with another password_hash sets a new one at the next boot.";
    form("Log in", Vec::new(), vec![secret(PASSWORD, help)], "Log in", |values, _| {
        let password = values.secret(PASSWORD);
        if password.is_empty() {
            return Err(Problem::new(PASSWORD, "Type the console's password."));
        }
        Ok(Step::Do(Command::LogIn(password)))
    })
    .forgetting_secrets()
}

/// Whoever stands here may give up settings that nobody can read, as he may set the first password of an appliance.
fn lost() -> Page {
    let shows = |view: &View| {
        let why = view.machine.settings_unreadable.as_deref().unwrap_or("they are read now");
        let mut lines = paragraph(&format!(
            "The system disk does not give the settings that are on it: {why}. They are asked for every \
             half minute, and used as soon as they can be read: if the disk or its storage can be mended, \
             do that first."
        ));
        lines.push(Line::empty());
        lines.extend(paragraph(
            "If they are lost, this appliance can go on as a new one. The network, the password and what \
             else is set of the machine have to be set again, unless a seed sets them; S3 target and shares \
             are not among it. What cannot be read is kept as it is, and not used. Where that is the whole \
             partition, as it cannot be mounted, no gateway runs, and what is set holds until the restart.",
        ));
        lines
    };
    let ask = "Give up these settings?";
    question("Settings that cannot be read", Box::new(shows), ask, Command::GiveUpSettings)
}

fn first() -> Page {
    let intro = paragraph(
        "This appliance has no password yet. Whoever sets one here can change its settings; nobody \
         else can. It is asked for on this screen and on the serial line.",
    );
    set("Set the console's password", intro, true)
}

/// Asks for another password.
pub(in crate::console) fn change() -> Page {
    set("Change the console's password", Vec::new(), false)
}

fn set(title: &'static str, intro: Vec<Line>, first: bool) -> Page {
    let fields = vec![
        secret(NEW, "8 to 128 characters, letters and signs of a US keyboard."),
        secret(AGAIN, "Type it once more, so that a slip of the finger does not lock you out."),
    ];
    form(title, intro, fields, "Set the password", move |values, _| submit(values, first))
        .forgetting_secrets()
}

fn submit(values: &Values<'_>, first: bool) -> Result<Step, Problem> {
    let password = values.secret(NEW);
    if !(BYTES_MIN..=BYTES_MAX).contains(&password.expose().len()) {
        let says = format!("The password must have {BYTES_MIN} to {BYTES_MAX} characters.");
        return Err(Problem::new(NEW, says));
    }
    if values.secret(AGAIN) != password {
        return Err(Problem::new(AGAIN, "The two passwords differ: type the same one again."));
    }
    Ok(Step::Do(Command::SetPassword { password, first }))
}

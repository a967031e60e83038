//! Configure and View Hostname Configuration.
use crate::{
    console::{
        form::{Problem, Values, choice, form, text},
        page::{Page, Step},
        pages::{Keep, changed, status::field},
        view::View,
    },
    machine::is_hostname,
};

const NAME: &str = "Hostname";
const MODE: &str = "Assigned by";
const STATIC: &str = "static";
const DHCP: &str = "DHCP";

/// The form.
pub(super) fn edit(view: &View) -> Page {
    let (name, mode) = match &view.settings {
        Ok(settings) => {
            let mode = if settings.hostname_from_dhcp { DHCP } else { STATIC };
            (settings.hostname.clone(), mode)
        }
        Err(_) => (view.machine.hostname.clone(), STATIC),
    };
    let fields = vec![
        text(NAME, name, "1 to 63 letters, digits and hyphens, without a domain."),
        choice(
            MODE,
            &[STATIC, DHCP],
            mode,
            "DHCP: the name above counts until DHCP names another.",
        ),
    ];
    form("Configure Hostname", Vec::new(), fields, "Apply", submit)
}

fn submit(values: &Values<'_>, view: &View) -> Result<Step, Problem> {
    let name = values.text(NAME).to_owned();
    if !is_hostname(&name) {
        let says = "Write 1 to 63 letters, digits and hyphens, not a hyphen at either end.";
        return Err(Problem::new(NAME, says));
    }
    let from_dhcp = values.text(MODE) == DHCP;
    changed(view, NAME, Keep::AtOnce, |settings| {
        settings.hostname = name;
        settings.hostname_from_dhcp = from_dhcp;
    })
}

/// What is in use.
pub(super) fn page() -> Page {
    let shows = |view: &View| {
        let mut lines = field("Hostname", &view.machine.hostname);
        let mode = match &view.settings {
            Ok(settings) if settings.hostname_from_dhcp => "DHCP",
            Ok(_) => "static",
            Err(why) => why,
        };
        lines.extend(field("Assigned by", mode));
        let dhcp = view.network.hostname.as_deref().unwrap_or("none");
        lines.extend(field("DHCP's name", dhcp));
        let domain = view.network.search.first().map_or("none", String::as_str);
        lines.extend(field("Domain", domain));
        lines
    };
    Page::live("View Hostname Configuration", Box::new(shows))
}

//! MTU and VLANs.
use super::{adapters, ask, set_adapter, static_ip::optional};
use crate::{
    console::{
        form::{Problem, Values, choice, form, text},
        list::list,
        page::{Page, Step},
        pages::{Keep, changed, changing, refused},
        view::View,
    },
    machine::{Adapter, Vlan},
};

const MTU: &str = "MTU in bytes";
const PARENT: &str = "Carried by";
const NUMBER: &str = "VLAN number";
const NAME: &str = "Name";

/// The MTU of one adapter.
pub(super) fn mtu(name: &str, view: &View) -> Page {
    let adapter = match &view.settings {
        Ok(settings) => settings.network.adapter(name),
        Err(why) => return refused("Set MTU", why),
    };
    let value = adapter.mtu.map(|mtu| mtu.to_string()).unwrap_or_default();
    let help = "Empty: what DHCP names, or else the adapter's own. 9000 for jumbo frames, if every switch \
                on the way takes them.";
    let fields = vec![text(MTU, value, help)];
    form(format!("Set MTU: {name}"), Vec::new(), fields, "Apply", move |values, view| {
        let mtu =
            optional::<u16>(values, MTU, "a number of bytes such as 1500 or 9000, or nothing")?;
        let adapter = Adapter { mtu, ..adapter.clone() };
        changed(view, MTU, Keep::IfConfirmed, |settings| {
            set_adapter(&mut settings.network, adapter)
        })
    })
}

/// A new VLAN.
pub(super) fn add_vlan(view: &View) -> Page {
    let is_vlan = |name: &String| {
        view.settings.as_ref().is_ok_and(|settings| settings.network.adapter(name).vlan.is_some())
    };
    let parents: Vec<String> = adapters(view).into_iter().filter(|name| !is_vlan(name)).collect();
    if parents.is_empty() {
        return refused("Add a VLAN", "No adapter is known that could carry it.");
    }
    let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
    let fields = vec![
        choice(PARENT, &parents, "", "The port group or switch port has to pass the VLAN tagged."),
        text(NUMBER, "", "1 to 4094."),
        text(NAME, "", "Up to 15 letters, digits, dots and hyphens; empty for vlanNUMBER."),
    ];
    form("Add a VLAN", Vec::new(), fields, "Apply", submit_vlan)
}

fn submit_vlan(values: &Values<'_>, view: &View) -> Result<Step, Problem> {
    let says = "Write a number from 1 to 4094.";
    let id: u16 = values.text(NUMBER).parse().map_err(|_| Problem::new(NUMBER, says))?;
    let name = match values.text(NAME) {
        "" => format!("vlan{id}"),
        name => name.to_owned(),
    };
    if adapters(view).contains(&name) {
        return Err(Problem::new(NAME, format!("There is an adapter {name} already.")));
    }
    let vlan = Some(Vlan { parent: values.text(PARENT).to_owned(), id });
    let adapter = Adapter { vlan, ..Adapter::automatic(&name) };
    changed(view, NUMBER, Keep::IfConfirmed, |settings| set_adapter(&mut settings.network, adapter))
}

/// Which VLAN goes.
pub(super) fn remove_vlan(view: &View) -> Page {
    let title = "Remove a VLAN";
    let settings = match &view.settings {
        Ok(settings) => settings,
        Err(why) => return refused(title, why),
    };
    let vlans = settings.network.adapters.iter().filter(|adapter| adapter.vlan.is_some());
    let names: Vec<String> = vlans.map(|vlan| vlan.name.clone()).collect();
    if names.is_empty() {
        return refused(title, "There is no VLAN.");
    }
    list(title, names, |name, view| {
        let gone = name.to_owned();
        let command = changing(view, Keep::IfConfirmed, move |settings| {
            settings.network.adapters.retain(|adapter| adapter.name != gone);
            settings.network.default_adapter.take_if(|default| *default == gone);
        });
        let words = format!("{name} and its addresses go; clients that use them lose them.");
        Step::Open(ask("Remove a VLAN", words, command))
    })
}

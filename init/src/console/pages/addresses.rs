//! Where the appliance can be reached, in words.
use crate::{console::view::View, observed::AdapterState};

/// One line for each adapter, its addresses or why there are none; and what is wrong with the network
/// as a whole.
pub(super) fn summary(view: &View) -> Vec<String> {
    let mut lines: Vec<String> = view.network.problem.iter().cloned().collect();
    lines.extend(view.network.adapters.iter().map(adapter));
    if lines.is_empty() {
        lines.push("none yet: the network service has not told of any adapter".to_owned());
    }
    lines
}

fn adapter(adapter: &AdapterState) -> String {
    match (&adapter.problem, adapter.addresses.as_slice()) {
        (Some(problem), []) => problem.clone(),
        (Some(problem), addresses) => {
            format!("{} on {}; {problem}", addresses.join(", "), adapter.name)
        }
        (None, []) => format!("none yet on {}", adapter.name),
        (None, addresses) => format!("{} on {}", addresses.join(", "), adapter.name),
    }
}

/// The address that clients mount from, as mount commands have it: IPv6 in brackets (nfs(5)).
pub(super) fn host(view: &View) -> Option<String> {
    let host = view.network.host()?;
    Some(if host.contains(':') { format!("[{host}]") } else { host.to_owned() })
}

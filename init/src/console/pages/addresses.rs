//! Where the appliance can be reached, in words; and where it is to fetch something from.
use crate::{
    console::{
        form::{self, Field, Problem, Values},
        view::View,
    },
    observed::AdapterState,
};

const URL: &str = "URL";
/// Longest URL: a presigned one with a session token is below.
const URL_BYTES_MAX: usize = 4000;

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

/// A field for where something is fetched from.
pub(super) fn url_field() -> Field {
    form::text(URL, "", "Begins with http:// or https://. It can be pasted.")
}

/// What was typed there.
///
/// # Errors
/// It is no URL.
pub(super) fn url(values: &Values<'_>) -> Result<String, Problem> {
    let url = values.text(URL);
    let says = |words: &str| Err(Problem::new(URL, words));
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if !rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        return says("A URL begins with http:// or https:// and the name of a host.");
    }
    if url.len() > URL_BYTES_MAX || !url.chars().all(|c| c.is_ascii_graphic()) {
        return says("A URL has no blanks and no letters but ASCII, and 4000 of them at most.");
    }
    Ok(url.to_owned())
}

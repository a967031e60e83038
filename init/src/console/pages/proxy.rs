//! HTTP Proxy Configuration: the way to S3.
use super::{gateway_changed, gateway_changing, gateway_settings, refused, status::field};
use crate::console::{
    form::{Problem, Values, form, secret, text},
    grid::paragraph,
    menu::{Entry, entry, menu},
    page::{Page, Step},
    question::question,
    view::View,
};

const HOST: &str = "Proxy host";
const PORT: &str = "Port";
const USER: &str = "User name";
const PASSWORD: &str = "Password";
const NONE: &str = "HTTP Proxy not configured";
const WITHOUT: &str = "Reached without it";

/// The menu, in AWS's words.
pub(super) fn page() -> Page {
    menu("HTTP Proxy Configuration", entries)
}

fn entries(_: &View) -> Vec<Entry> {
    vec![
        entry("Configure HTTP proxy", configure),
        entry("View current HTTP proxy configuration", |_| view_proxy()),
        entry("Remove an HTTP proxy configuration", remove),
    ]
}

fn configure(view: &View) -> Page {
    let title = "Configure HTTP proxy";
    let s3 = match gateway_settings(view) {
        Ok((_, settings)) => &settings.s3,
        Err(why) => return refused(title, &why),
    };
    let address = s3.http_proxy.strip_prefix("http://").unwrap_or_default().trim_end_matches('/');
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "3128"));
    let fields = vec![
        text(HOST, host, "Name or address of the proxy between this appliance and S3."),
        text(PORT, port, "Its port, often 3128 or 8080."),
        text(USER, s3.proxy_user.clone(), "Empty if the proxy asks for none."),
        secret(PASSWORD, "Empty: as it is, for the same user of the same proxy."),
        text(
            WITHOUT,
            s3.no_proxy.join(" "),
            "Hosts, domains (.example.com) and networks (10.0.0.0/8), blanks between them.",
        ),
    ];
    form(title, Vec::new(), fields, "Save", submit)
}

fn submit(values: &Values<'_>, view: &View) -> Result<Step, Problem> {
    let host = values.text(HOST);
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err(Problem::new(HOST, "Write a host name or an address, without http://."));
    }
    let port: u16 = values
        .text(PORT)
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| Problem::new(PORT, "Write a number from 1 to 65535."))?;
    // An IPv6 address in a URL stands in brackets (RFC 3986 §3.2.2).
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let (user, password) = (values.text(USER).to_owned(), values.secret(PASSWORD));
    let no_proxy = values.text(WITHOUT).split_whitespace().map(str::to_owned).collect();
    gateway_changed(view, HOST, |settings| {
        settings.s3.http_proxy = format!("http://{host}:{port}");
        settings.s3.proxy_user = user;
        settings.s3.proxy_password = password;
        settings.s3.no_proxy = no_proxy;
    })
}

fn view_proxy() -> Page {
    Page::live(
        "View current HTTP proxy configuration",
        Box::new(|view| {
            let s3 = match gateway_settings(view) {
                Ok((_, settings)) => &settings.s3,
                Err(why) => return paragraph(&why),
            };
            if s3.http_proxy.is_empty() {
                return paragraph(NONE);
            }
            let mut lines = field("HTTP proxy", &s3.http_proxy);
            let user = if s3.proxy_user.is_empty() { "none" } else { &s3.proxy_user };
            lines.extend(field("User name", user));
            let without = s3.no_proxy.join(" ");
            lines.extend(field("Without it", if without.is_empty() { "none" } else { &without }));
            lines
        }),
    )
}

fn remove(view: &View) -> Page {
    let title = "Remove an HTTP proxy configuration";
    if gateway_settings(view).is_ok_and(|(_, settings)| settings.s3.http_proxy.is_empty()) {
        return refused(title, NONE);
    }
    let command = gateway_changing(view, |settings| {
        settings.s3.http_proxy.clear();
        settings.s3.proxy_user.clear();
        settings.s3.proxy_password = gateway_api::Secret::default();
        settings.s3.no_proxy.clear();
    });
    match command {
        Ok(command) => {
            let words = "S3 is reached without a proxy. Uploads that do not get through wait on the \
                         cache disk.";
            question(title, Box::new(move |_| paragraph(words)), "Remove?", command)
        }
        Err(why) => refused(title, &why),
    }
}

//! Test Network Connectivity: what there is to test.
use gateway_api::settings::S3Settings;

use crate::console::{
    command::{Command, Target},
    page::Step,
    pages::refused,
    view::View,
};

/// Begins the test.
pub(in crate::console) fn begin(view: &View) -> Step {
    let targets = targets(view);
    if targets.is_empty() {
        let why = "There is nothing to test: no adapter has an address. Connect one, or see Network \
                   Configuration.";
        return Step::Open(refused("Test Network Connectivity", why));
    }
    Step::Do(Command::TestNetwork(targets))
}

/// Routers first, then DNS and NTP servers, then S3: each needs those before it.
fn targets(view: &View) -> Vec<Target> {
    let mut targets = Vec::new();
    for adapter in &view.network.adapters {
        for gateway in adapter.gateway.iter().chain(&adapter.ipv6_gateway) {
            // A link-local one cannot be asked without naming the adapter.
            if let Ok(address) = gateway.parse()
                && !is_link_local(address)
            {
                targets.push(Target::Router { adapter: adapter.name.clone(), address });
            }
        }
    }
    let s3 = view.gateway_settings.as_ref().ok().and_then(|(_, settings)| endpoint(&settings.s3));
    let host = s3.as_ref().map(|(_, host, _)| host.clone());
    let name = host.filter(|host| host.parse::<std::net::IpAddr>().is_err());
    for server in view.network.dns.iter().filter_map(|server| server.parse().ok()) {
        targets.push(Target::NameServer { server, name: name.clone() });
    }
    let set = view.settings.as_ref().map(|settings| settings.ntp_servers.as_slice());
    let servers = set.ok().filter(|servers| !servers.is_empty()).unwrap_or(&view.network.ntp);
    targets.extend(servers.iter().cloned().map(Target::TimeServer));
    if let Some((what, host, port)) = s3
        && !targets.is_empty()
    {
        targets.push(Target::Port { what, host, port });
    }
    targets
}

fn is_link_local(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(_) => false,
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// What requests to S3 connect to: the proxy, or the endpoint.
fn endpoint(s3: &S3Settings) -> Option<(&'static str, String, u16)> {
    if !s3.http_proxy.is_empty() {
        let (host, port) = host_and_port(s3.http_proxy.strip_prefix("http://")?, 80);
        return Some(("HTTP proxy", host, port));
    }
    let (host, port) = match s3.endpoint.split_once("://") {
        Some(("http", rest)) => host_and_port(rest, 80),
        Some((_, rest)) => host_and_port(rest, 443),
        None if s3.region.is_empty() => return None,
        None => {
            let fips = if s3.fips { "-fips" } else { "" };
            let dual_stack = if s3.dual_stack { ".dualstack" } else { "" };
            let china = if s3.region.starts_with("cn-") { ".cn" } else { "" };
            (format!("s3{fips}{dual_stack}.{}.amazonaws.com{china}", s3.region), 443)
        }
    };
    Some(("S3 endpoint", host, port))
}

fn host_and_port(rest: &str, default: u16) -> (String, u16) {
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(default)),
        Some(_) | None => (authority, default),
    };
    (host.trim_matches(['[', ']']).to_owned(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_requests_connect_to_is_found_in_the_settings() {
        let of = |change: fn(&mut S3Settings)| {
            let mut s3 = S3Settings { region: "eu-west-1".to_owned(), ..S3Settings::default() };
            change(&mut s3);
            endpoint(&s3).map(|(what, host, port)| format!("{what} {host} {port}"))
        };
        for (change, expected) in [
            ((|_| {}) as fn(&mut S3Settings), "S3 endpoint s3.eu-west-1.amazonaws.com 443"),
            (|s3| s3.fips = true, "S3 endpoint s3-fips.eu-west-1.amazonaws.com 443"),
            (|s3| s3.dual_stack = true, "S3 endpoint s3.dualstack.eu-west-1.amazonaws.com 443"),
            (
                |s3| s3.region = "cn-north-1".to_owned(),
                "S3 endpoint s3.cn-north-1.amazonaws.com.cn 443",
            ),
            (|s3| s3.endpoint = "https://[2001:db8::1]/".to_owned(), "S3 endpoint 2001:db8::1 443"),
            (|s3| s3.endpoint = "http://10.0.2.2:9000".to_owned(), "S3 endpoint 10.0.2.2 9000"),
            (|s3| s3.http_proxy = "http://proxy:3128/".to_owned(), "HTTP proxy proxy 3128"),
        ] {
            assert_eq!(of(change).as_deref(), Some(expected));
        }
        assert_eq!(of(|s3| s3.region.clear()), None);
    }
}

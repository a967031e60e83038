//! The gateway console's commands that have to ask somebody.
use std::{fs, net::IpAddr, time::Duration};

use super::{
    dns::{self, Answer, Kind},
    network_test,
};
use crate::{
    console::{command::Tool, view},
    gateway_tool::{self, GatewayTool},
    observed::{self, NetworkState},
};

const ANSWER_TIME: Duration = Duration::from_secs(5);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Runs one; answers what it has to say.
pub(super) fn run(tool: &Tool) -> Result<Vec<String>, String> {
    match tool {
        Tool::LookUp { name, server } => Ok(look_up(name, *server)),
        Tool::Connect { host, port } => match network_test::connect(host, *port) {
            Ok(address) => Ok(vec![format!("{host} ({address}) port {port}: open")]),
            Err(error) => Err(format!("{host} port {port}: {error}")),
        },
        Tool::Certificate { server } => {
            let mut lines = Vec::new();
            let tool = GatewayTool::Sslcheck { server: server.clone() };
            gateway_tool::ask(tool, b"", |line| lines.push(line))?;
            Ok(lines)
        }
        Tool::Network => Ok(network()),
    }
}

fn look_up(name: &str, server: Option<IpAddr>) -> Vec<String> {
    let servers = match server {
        Some(server) => vec![server],
        None => name_servers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default()),
    };
    if servers.is_empty() {
        return vec!["no name server is known: see Edit DNS Configuration".to_owned()];
    }
    let mut lines = Vec::new();
    for server in servers {
        for kind in [Kind::A, Kind::Aaaa] {
            let found = match dns::ask(server, name, kind, ANSWER_TIME) {
                Ok(Answer::Addresses(all)) => {
                    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                }
                Ok(Answer::NoAddress) => "none".to_owned(),
                Ok(Answer::NoSuchName) => "no such name".to_owned(),
                Ok(Answer::Failed(code)) => format!("refused, RCODE {code}"),
                Err(error) => error.to_string(),
            };
            lines.push(format!("{server} {kind:?}: {found}").replace("Aaaa", "AAAA"));
        }
    }
    lines
}

/// Of resolv.conf(5).
fn name_servers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
    servers.filter_map(|server| server.trim().parse().ok()).take(3).collect()
}

fn network() -> Vec<String> {
    let seen = observed::read::<NetworkState>(observed::NETWORK).in_words();
    let mut lines: Vec<String> = seen.lines().map(str::to_owned).collect();
    lines.push("routes:".to_owned());
    lines.extend(view::routes().into_iter().map(|route| format!("  {route}")));
    lines.push("neighbours:".to_owned());
    let neighbours = fs::read_to_string("/proc/net/arp").unwrap_or_default();
    lines.extend(neighbours.lines().skip(1).map(|line| format!("  {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_from_resolv_conf() {
        let text = "# made here\nsearch example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n";
        let expected: [IpAddr; 2] = [[192, 0, 2, 53].into(), "2001:db8::53".parse().unwrap()];
        assert_eq!(name_servers(text), expected);
    }
}

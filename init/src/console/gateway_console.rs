//! The gateway console: a few safe commands, each done here. There is no shell behind it. Pure.
use std::net::IpAddr;

use super::{command::Tool, page::Page, pages};

/// What is said at the beginning.
pub(super) const HELP: &str = "Type h for the list of commands.";

const COMMANDS: &str = "AVAILABLE COMMANDS:
  dig NAME [@SERVER]       ask the name servers, or one, for a name's addresses
  exit                     back to the menu
  h                        this list
  ip                       adapters, addresses, routes and neighbours
  ncport -d HOST -p PORT   test whether a TCP port takes connections
  passwd                   change the console's password
  sslcheck HOST[:PORT]     a TLS server's certificates, names, validity, trust
S3 is tested by Test S3 Connectivity in the menu.";

/// What was typed.
pub(super) enum Typed {
    Nothing,
    /// An answer that needs nobody.
    Say(String),
    Exit,
    Open(fn() -> Page),
    Run(Tool),
}

/// Reads a command line.
pub(super) fn parse(line: &str) -> Typed {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [] => Typed::Nothing,
        ["h" | "help" | "?"] => Typed::Say(COMMANDS.to_owned()),
        ["exit" | "quit" | "x"] => Typed::Exit,
        ["passwd"] => Typed::Open(pages::log_in::change),
        ["ip", ..] | ["ifconfig"] => Typed::Run(Tool::Network),
        ["dig", name] => look_up(name, None),
        ["dig", name, server] | ["dig", server, name] if server.starts_with('@') => {
            look_up(name, Some(&server[1..]))
        }
        ["dig", ..] => {
            say("dig NAME [@SERVER]: such as dig s3.eu-west-1.amazonaws.com @192.0.2.53")
        }
        ["sslcheck", server] => Typed::Run(Tool::Certificate { server: (*server).to_owned() }),
        ["sslcheck", ..] => {
            say("sslcheck HOST[:PORT]: such as sslcheck s3.eu-west-1.amazonaws.com")
        }
        ["ncport", "-d", host, "-p", port] | ["ncport", "-p", port, "-d", host] => {
            match port.parse() {
                Ok(port) if port > 0 => {
                    Typed::Run(Tool::Connect { host: (*host).to_owned(), port })
                }
                Ok(_) | Err(_) => say("a port is a number from 1 to 65535"),
            }
        }
        ["ncport", ..] => say("ncport -d HOST -p PORT: such as ncport -d 192.0.2.7 -p 443"),
        [command, ..] => say(&format!("{command} is no command here: h lists them")),
    }
}

fn say(words: &str) -> Typed {
    Typed::Say(words.to_owned())
}

fn look_up(name: &str, server: Option<&str>) -> Typed {
    match server.map(str::parse::<IpAddr>) {
        None => Typed::Run(Tool::LookUp { name: name.to_owned(), server: None }),
        Some(Ok(server)) => {
            Typed::Run(Tool::LookUp { name: name.to_owned(), server: Some(server) })
        }
        Some(Err(_)) => say("a name server is given by its address: @192.0.2.53"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(line: &str) -> Option<Tool> {
        match parse(line) {
            Typed::Run(tool) => Some(tool),
            Typed::Nothing | Typed::Say(_) | Typed::Exit | Typed::Open(_) => None,
        }
    }

    fn said(line: &str) -> String {
        match parse(line) {
            Typed::Say(words) => words,
            Typed::Nothing | Typed::Run(_) | Typed::Exit | Typed::Open(_) => String::new(),
        }
    }

    #[test]
    fn commands_are_read_and_nothing_else_is_run() {
        let name = "s3.example".to_owned();
        let server = Some(IpAddr::from([192, 0, 2, 53]));
        assert_eq!(tool("dig s3.example"), Some(Tool::LookUp { name: name.clone(), server: None }));
        let asked = Some(Tool::LookUp { name, server });
        assert_eq!(tool("dig s3.example @192.0.2.53"), asked);
        assert_eq!(tool("dig @192.0.2.53 s3.example"), asked);
        let port = Some(Tool::Connect { host: "s3.example".to_owned(), port: 443 });
        assert_eq!(tool(" ncport -d s3.example  -p 443 "), port);
        let server = "s3.example:8443".to_owned();
        assert_eq!(tool("sslcheck s3.example:8443"), Some(Tool::Certificate { server }));
        assert_eq!(tool("ip addr"), Some(Tool::Network));
        for (line, says) in [
            ("h", "ncport -d HOST"),
            ("sslcheck", "sslcheck HOST"),
            ("dig", "dig NAME"),
            ("dig a @b", "by its address"),
            ("ncport -d a -p 0", "65535"),
            ("ncport -d a -p 65536", "65535"),
            ("sh -c reboot", "sh is no command"),
        ] {
            assert!(said(line).contains(says), "{line}: {}", said(line));
        }
        assert!(matches!(parse("exit"), Typed::Exit));
        assert!(matches!(parse("  "), Typed::Nothing));
    }
}

//! The programs `shutdown` and `sh` of the image: how VMware's tools end the machine when the host asks.
//!
//! vmtoolsd runs `/sbin/shutdown -h now` or `-r now`, by way of system(3), which runs `/bin/sh -c`. The
//! image has no shell: this `sh` understands these lines alone, and asks PID 1 for an orderly end.
use anyhow::{Result, anyhow, bail};

use crate::{control, control::Request, shutdown::Ending};

/// Whether this program was called by one of the two names, and if so does what it is for.
pub(crate) fn called(program: &str, arguments: &[&str]) -> Option<Result<()>> {
    let name = program.rsplit('/').next().unwrap_or(program);
    let words: Vec<&str> = match (name, arguments) {
        ("shutdown", words) => words.to_vec(),
        // glibc puts `--` before the line.
        ("sh", ["-c", "--", line] | ["-c", line]) => {
            match line.split_whitespace().collect::<Vec<_>>() {
                words if words.first().is_some_and(|word| word.ends_with("shutdown")) => {
                    words[1..].to_vec()
                }
                _ => return Some(Err(anyhow!("there is no shell here"))),
            }
        }
        ("sh", _) => return Some(Err(anyhow!("there is no shell here"))),
        _ => return None,
    };
    Some(ending_of(&words).and_then(end))
}

fn end(how: Ending) -> Result<()> {
    control::ask(&Request::End { how }).map(drop).map_err(|why| anyhow!(why))
}

/// What the words after `shutdown` want (shutdown(8)).
fn ending_of(words: &[&str]) -> Result<Ending> {
    match words {
        ["-r", "now"] => Ok(Ending::Reboot),
        ["-h" | "-P", "now"] => Ok(Ending::PowerOff),
        _ => bail!("shutdown knows: -r now, -h now, -P now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_vmwares_tools_are_understood_and_no_others() {
        for (words, is) in [
            (&["-r", "now"] as &[_], Some(Ending::Reboot)),
            (&["-h", "now"], Some(Ending::PowerOff)),
            (&["-P", "now"], Some(Ending::PowerOff)),
            (&["now"], None),
            (&["-h", "+5"], None),
            (&["-c"], None),
        ] {
            assert_eq!(ending_of(words).ok(), is, "{words:?}");
        }
    }

    #[test]
    fn it_is_no_shell() {
        for (program, arguments) in [
            ("/bin/sh", &["-c", "--", "/bin/ls"] as &[_]),
            ("sh", &["-c", "reboot"]),
            ("sh", &["-c", ""]),
            ("sh", &["script"]),
            ("sh", &[]),
        ] {
            let error = called(program, arguments).unwrap().unwrap_err().to_string();
            assert_eq!(error, "there is no shell here", "{arguments:?}");
        }
        let error = |line| called("/bin/sh", &["-c", "--", line]).unwrap().unwrap_err().to_string();
        assert!(error("/sbin/shutdown -k now").contains("shutdown knows"));
        // Here nobody listens; in the appliance PID 1 does.
        assert!(error("/sbin/shutdown -h now").contains("PID 1 does not answer"));
        assert!(called("/usr/sbin/init", &["-c", "ls"]).is_none());
    }
}

//! Goal: a support bundle is handed over once by a process that has nothing but it. Method: the real
//! program, fed and asked as the console and a browser do.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

#[test]
fn a_bundle_is_served_by_a_confined_process_that_ends_with_it() -> Result<()> {
    let bundle = vec![7_u8; 3 << 20];
    let mut process = Command::new(env!("CARGO_BIN_EXE_init"))
        .args(["serve-bundle", "gate7.tar.gz"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = process.stdin.take().context("a pipe")?;
    input.write_all(b"the-word\n")?;
    input.write_all(&bundle)?;
    drop(input);
    let mut said = BufReader::new(process.stdout.take().context("a pipe")?).lines();
    let line = said.next().context("it says its port")??;
    let port: u16 = line.strip_prefix("port ").context(line.clone())?.parse()?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(b"GET /the-word HTTP/1.1\r\nHost: gate7\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&bundle));
    let own = stream.local_addr()?.port();
    drop(stream);
    let line = said.next().context("it says to whom it went")??;
    ensure!(line.starts_with("sent to ") && line.ends_with(&format!(":{own}")), "{line}");
    ensure!(process.wait()?.success());
    ensure!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "it is over");
    Ok(())
}

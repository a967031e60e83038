//! A web server with one file, for what the appliance fetches by itself.
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    thread,
};

use anyhow::Result;

use crate::seed::HOST_FROM_GUEST;

/// A running server; it ends with the process.
#[derive(Debug)]
pub struct Web {
    port: u16,
}

impl Web {
    /// Serves the file at every path, as it is at that moment.
    ///
    /// # Errors
    /// There is no port.
    pub fn serve(file: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = answer(&stream, &file) {
                    println!("the web server: {error}");
                }
            }
        });
        Ok(Self { port })
    }

    /// Where the appliance finds the file.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{HOST_FROM_GUEST}:{}/{name}", self.port)
    }
}

fn answer(stream: &TcpStream, file: &PathBuf) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let (mut file, mut to) = (File::open(file)?, stream);
    let length = file.metadata()?.len();
    write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    io::copy(&mut file, &mut to).map(drop)
}

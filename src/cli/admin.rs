//! Asks a running Viaduct at its admin address.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A scrape takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Thousands of listeners have a few MiB of metrics.
const ANSWER_BYTES: u64 = 64 << 20;

/// The page at this path; `None`: what answers is not Viaduct, or has no such page.
///
/// # Errors
/// Nobody answers, or not in time.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Option<String>> {
    let answer = ask(address, path)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.split(' ').nth(1) == Some("200")).then(|| body.to_owned()))
}

fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let (mut bytes, begin) = (Vec::new(), Instant::now());
    let mut chunk = [0; 64 * 1024];
    // A peer that sends a byte now and then is not waited for.
    while begin.elapsed() < PATIENCE && (bytes.len() as u64) < ANSWER_BYTES {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            // A read with a limit of time is not resumed by the kernel after a stop (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

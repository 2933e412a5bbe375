//! Asks a running Viaduct for its metrics.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::doctor::{Told, Untold};

/// A scrape takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Thousands of listeners have a few MiB of metrics.
const ANSWER_BYTES: u64 = 64 << 20;

/// The text at `/metrics`.
pub fn metrics(admin: Option<SocketAddr>) -> Told<String> {
    let address = admin.ok_or_else(|| Untold::new("[admin] listen is off"))?;
    let answer = get(address).map_err(|e| Untold::new(format!("no Viaduct answers on {address}: {e}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(Untold::new(format!("{address} is not answered by Viaduct"))),
    }
}

fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let (mut bytes, begin) = (Vec::new(), Instant::now());
    let mut chunk = [0; 64 * 1024];
    // A peer that sends a byte now and then is not waited for.
    while begin.elapsed() < PATIENCE && (bytes.len() as u64) < ANSWER_BYTES {
        match stream.read(&mut chunk)? {
            0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answered_by(answer: &'static str) -> Told<String> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serve = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let told = metrics(Some(address));
        serve.join().unwrap();
        told
    }

    #[test]
    fn only_an_answer_counts() {
        assert_eq!(answered_by("HTTP/1.1 200 OK\r\n\r\na 1\n"), Ok("a 1\n".to_owned()));
        assert!(answered_by("SSH-2.0-x\r\n").is_err());
        assert!(answered_by("HTTP/1.1 404 Not Found\r\n\r\n").is_err());
        assert!(metrics(None).is_err());
    }
}

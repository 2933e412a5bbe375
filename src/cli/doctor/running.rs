//! Asks a running Viaduct for its metrics.

use std::net::SocketAddr;

use super::super::admin;
use crate::doctor::{Told, Untold};

/// The text at `/metrics`.
pub fn metrics(admin: Option<SocketAddr>) -> Told<String> {
    let address = admin.ok_or_else(|| Untold::new("[admin] listen is off"))?;
    let answer = admin::get(address, "/metrics")
        .map_err(|e| Untold::new(format!("no Viaduct answers on {address}: {e}")))?;
    answer.ok_or_else(|| Untold::new(format!("{address} is not answered by Viaduct")))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn answered_by(answer: &'static str) -> Told<String> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serve = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            // What was not read would have the kernel reset the connection instead of sending the answer.
            let (mut asked, mut some) = (Vec::new(), [0; 1024]);
            while !asked.ends_with(b"\r\n\r\n") {
                let len = stream.read(&mut some).unwrap();
                assert!(len > 0, "a whole request");
                asked.extend_from_slice(&some[..len]);
            }
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

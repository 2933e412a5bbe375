//! One connection of an endpoint over streams, with TLS or without: whoever has something to say writes at once, and a
//! thread reads.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::Connection;

use crate::phone::{Taken, Way};
use crate::sip::Message;

/// All clones are the same connection.
#[derive(Clone)]
pub struct Line(Arc<Wire>);

struct Wire {
    socket: TcpStream,
    /// None: there is no TLS. Locked, too, by whoever writes.
    session: Mutex<Option<Connection>>,
    is_reset: AtomicBool,
}

impl Line {
    /// Reads from now on, and gives each message to `inbox`.
    pub fn new(socket: TcpStream, session: Option<Connection>, inbox: &Sender<Taken>) -> Self {
        // What is written is a message; nothing follows that it could wait for.
        socket.set_nodelay(true).expect("an option");
        let line =
            Self(Arc::new(Wire { socket, session: Mutex::new(session), is_reset: AtomicBool::new(false) }));
        let (reader, inbox) = (line.clone(), inbox.clone());
        std::thread::spawn(move || {
            // However it ends, what is sent from then on fails.
            let _ = reader.read(&inbox);
            if !reader.0.is_reset.load(Ordering::Relaxed) {
                reader.close();
            }
        });
        line
    }

    /// Sends a message; where a handshake is under way, behind that.
    ///
    /// # Errors
    /// The connection is over.
    pub fn send(&self, message: &Message) -> io::Result<()> {
        let mut session = self.session();
        let Some(session) = session.as_mut() else { return (&self.0.socket).write_all(&message.bytes()) };
        session.writer().write_all(&message.bytes())?;
        self.flush(session)
    }

    /// Ends it, for both sides.
    pub fn close(&self) {
        // It may have ended.
        let _ = self.0.socket.shutdown(Shutdown::Both);
    }

    /// Ends it with a reset, once nobody has it any more: what came by it holds it, too. Says whether that is so.
    pub fn reset(self) -> impl Fn() -> bool {
        socket2::SockRef::from(&self.0.socket).set_linger(Some(Duration::ZERO)).expect("a socket");
        self.0.is_reset.store(true, Ordering::Relaxed);
        self.0.socket.shutdown(Shutdown::Read).expect("a connection");
        let wire = Arc::downgrade(&self.0);
        move || wire.strong_count() == 0
    }

    fn session(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.session.lock().expect("no panic")
    }

    fn flush(&self, session: &mut Connection) -> io::Result<()> {
        while session.wants_write() {
            session.write_tls(&mut &self.0.socket)?;
        }
        Ok(())
    }

    fn read(&self, inbox: &Sender<Taken>) -> io::Result<()> {
        let (mut buffer, mut text) = ([0; 16_384], Vec::new());
        if let Some(session) = self.session().as_mut() {
            self.flush(session)?;
        }
        loop {
            let length = (&self.0.socket).read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            self.take(&buffer[..length], &mut text)?;
            while let Some(message) = next_message(&mut text) {
                let taken = Taken { message, way: Way::Stream(self.clone()) };
                inbox.send(taken).map_err(io::Error::other)?;
            }
        }
    }

    /// Appends the plaintext of what has come in.
    fn take(&self, mut bytes: &[u8], text: &mut Vec<u8>) -> io::Result<()> {
        let mut session = self.session();
        let Some(session) = session.as_mut() else {
            text.extend_from_slice(bytes);
            return Ok(());
        };
        while !bytes.is_empty() {
            session.read_tls(&mut bytes)?;
            let state = session.process_new_packets();
            // An alert says why it fails.
            self.flush(session)?;
            let length = state.map_err(io::Error::other)?.plaintext_bytes_to_read();
            session.reader().take(length as u64).read_to_end(text)?;
        }
        Ok(())
    }
}

/// Takes the first message that has come whole.
fn next_message(bytes: &mut Vec<u8>) -> Option<Message> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let body: usize = Message::parse(&bytes[..head]).value("Content-Length").parse().expect("a length");
    let message = Message::parse(bytes.get(..head + body)?);
    bytes.drain(..head + body);
    Some(message)
}

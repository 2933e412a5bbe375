//! Where the bytes of a socket become plain text, and plain text becomes the bytes of a socket.

use std::sync::Arc;

use thiserror::Error;

use crate::limits::LAYER_SCRATCH_BYTES;
use crate::net::Transport;
use crate::tls::{self, Client, PeerName, Server, Session};
use crate::websocket::{self, Origins, WebSocket};

/// What lies between a connection's socket and its framing.
#[derive(Debug, Default)]
pub enum Layer {
    /// Nothing: TCP.
    #[default]
    Plain,
    /// TLS
    Tls(Box<Session>),
    /// WebSocket, which frames messages itself.
    WebSocket(Box<WebSocket>),
    /// WebSocket over TLS.
    SecureWebSocket(Box<(Session, WebSocket)>),
}

/// Why a listener cannot open connections over TLS.
const NO_CA: &str = "the listener has no `ca`, so it trusts no server";

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The bytes themselves are text, cut anywhere.
    AsIs,
    /// [`Scratch::text`] is, cut anywhere.
    Text,
    /// [`Scratch::messages`] are whole.
    Messages,
}

/// How a layer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing can be sent yet.
    Handshaking,
    /// Both directions are open.
    Open,
    /// The peer has said that it sends no more.
    PeerClosed,
    /// Both sides have said so.
    Closed,
}

/// Why there is no layer, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayerFailure {
    /// TLS
    #[error("{} ({})", .0, .0.remedy())]
    Tls(#[from] tls::Failure),
    /// WebSocket
    #[error("{0}")]
    WebSocket(#[from] websocket::Failure),
}

impl LayerFailure {
    /// The metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Tls(failure) => failure.label(),
            Self::WebSocket(failure) => failure.label(),
        }
    }

    /// What is kept of it with a request that could not be sent.
    pub const fn cause(&self) -> Option<tls::Cause> {
        match self {
            Self::Tls(failure) => Some(failure.cause()),
            Self::WebSocket(_) => None,
        }
    }
}

/// Memory of a shard that layers write into; of one connection at a time.
#[derive(Debug, Default)]
pub struct Scratch {
    text: Vec<u8>,
    /// Where each message of `text` ends.
    ends: Vec<usize>,
    /// For the socket.
    pub out: Vec<u8>,
    /// Between TLS and WebSocket.
    between: Vec<u8>,
}

impl Scratch {
    /// What came in as text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What came in as messages.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).filter_map(|(begin, end)| self.text.get(*begin..*end))
    }

    /// Forgets what it holds, and gives back what only rare messages need.
    pub fn clear(&mut self) {
        for buffer in [&mut self.text, &mut self.out, &mut self.between] {
            buffer.clear();
            buffer.shrink_to(LAYER_SCRATCH_BYTES);
        }
        self.ends.clear();
    }
}

impl Layer {
    /// With a client that has connected by this transport; `server`: the listener's certificates.
    ///
    /// # Errors
    /// TLS cannot begin; `None` for a transport over TLS without certificates is one.
    pub fn accept(transport: Transport, server: Option<&Server>) -> Result<Self, LayerFailure> {
        let session = || {
            let server =
                server.ok_or_else(|| tls::Failure::Own("the listener has no certificate".to_owned()))?;
            Session::accept(server)
        };
        Ok(match transport {
            Transport::Udp | Transport::Tcp => Self::Plain,
            Transport::Tls => Self::Tls(Box::new(session()?)),
            Transport::Ws => Self::WebSocket(Box::default()),
            Transport::Wss => Self::SecureWebSocket(Box::new((session()?, WebSocket::default()))),
        })
    }

    /// The same, where it is WebSocket, for pages of these origins alone. It is new.
    #[must_use]
    pub fn of_origins(self, origins: &Arc<Origins>) -> Self {
        let socket = || WebSocket::from(Arc::clone(origins));
        match self {
            Self::Plain | Self::Tls(_) => self,
            Self::WebSocket(_) => Self::WebSocket(Box::new(socket())),
            Self::SecureWebSocket(both) => Self::SecureWebSocket(Box::new((both.0, socket()))),
        }
    }

    /// Over TLS with the server of this name; what has to be sent first goes to [`Scratch::out`]. `client`: whom the listener
    /// trusts.
    ///
    /// # Errors
    /// TLS cannot begin; `None`, which trusts nobody, is one.
    pub fn connect(
        client: Option<&Client>,
        name: &PeerName,
        scratch: &mut Scratch,
    ) -> Result<Self, LayerFailure> {
        let client = client.ok_or_else(|| tls::Failure::Own(NO_CA.to_owned()))?;
        Ok(Self::Tls(Box::new(Session::connect(client, name, &mut scratch.out)?)))
    }

    /// Takes what the socket received. What it stands for is in `scratch`, and what has to be sent in [`Scratch::out`]. With it
    /// how the layer stands; where that has failed, the connection is to be closed once what has to be sent is, and what came
    /// before the failure is as good as any.
    pub fn receive(&mut self, bytes: &[u8], scratch: &mut Scratch) -> (Came, Result<Standing, LayerFailure>) {
        let Scratch { text, ends, out, between } = scratch;
        match self {
            Self::Plain => (Came::AsIs, Ok(Standing::Open)),
            Self::Tls(session) => (Came::Text, standing(session.receive(bytes, text, out))),
            Self::WebSocket(socket) => {
                let state = socket.receive(bytes, |message| put(message, text, ends), out);
                (Came::Messages, standing(state))
            }
            Self::SecureWebSocket(both) => {
                let (session, socket) = &mut **both;
                let below = standing(session.receive(bytes, between, out));
                let mut answer = Vec::new();
                let above = socket.receive(between, |message| put(message, text, ends), &mut answer);
                between.clear();
                // Where it cannot be sent, the stream's end says it.
                let _ = session.send(&answer, out);
                (Came::Messages, of_both(below, standing(above)))
            }
        }
    }

    /// Gives the bytes that stand for this text to `socket`. `false`: it does not take them, or nothing can be sent, not
    /// yet or no longer. Nothing can be sent behind that.
    pub fn send(
        &mut self,
        text: &[u8],
        scratch: &mut Scratch,
        mut socket: impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let Scratch { out, between, .. } = scratch;
        let is_put = match self {
            Self::Plain => return socket(text),
            Self::Tls(session) => session.send(text, out).is_ok(),
            Self::WebSocket(frames) => frames.send(text, out),
            Self::SecureWebSocket(both) => {
                let (session, frames) = &mut **both;
                frames.send(text, between) && session.send(between, out).is_ok()
            }
        };
        let is_sent = is_put && socket(out);
        scratch.clear();
        is_sent
    }

    /// What tells the peer that the connection ends in good order goes to [`Scratch::out`].
    pub fn close(&mut self, scratch: &mut Scratch) {
        let Scratch { out, between, .. } = scratch;
        match self {
            Self::Plain => {}
            Self::Tls(session) => session.close(out),
            Self::WebSocket(socket) => socket.close(out),
            Self::SecureWebSocket(both) => {
                let (session, socket) = &mut **both;
                socket.close(between);
                let _ = session.send(between, out);
                session.close(out);
            }
        }
    }

    /// The session of TLS, if there is one.
    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::Plain | Self::WebSocket(_) => None,
            Self::Tls(session) => Some(session),
            Self::SecureWebSocket(both) => Some(&both.0),
        }
    }

    /// What is above the socket, or above TLS, is WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self, Self::WebSocket(_) | Self::SecureWebSocket(_))
    }

    /// Nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls(session) => session.is_closed(),
            Self::WebSocket(socket) => socket.is_closed(),
            Self::SecureWebSocket(both) => both.0.is_closed() || both.1.is_closed(),
        }
    }

    /// Something has begun that is not whole and that messages are told from: a record, a frame, a message of several.
    pub fn is_within(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls(session) => session.is_within(),
            Self::WebSocket(socket) => socket.is_within(),
            Self::SecureWebSocket(both) => both.0.is_within() || both.1.is_within(),
        }
    }

    /// Memory for what is not whole, in bytes.
    pub fn kept_bytes(&self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Tls(session) => session.kept_bytes(),
            Self::WebSocket(socket) => socket.kept_bytes(),
            Self::SecureWebSocket(both) => both.0.kept_bytes() + both.1.kept_bytes(),
        }
    }

    /// Nothing can be sent yet.
    pub fn is_handshaking(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls(session) => session.state() == tls::State::Handshaking,
            Self::WebSocket(socket) => socket.is_handshaking(),
            Self::SecureWebSocket(both) => both.1.is_handshaking(),
        }
    }
}

fn standing<S, F>(state: Result<S, F>) -> Result<Standing, LayerFailure>
where
    Standing: From<S>,
    LayerFailure: From<F>,
{
    Ok(state?.into())
}

/// How WebSocket over TLS stands. Of two failures the one above came first.
fn of_both(
    below: Result<Standing, LayerFailure>,
    above: Result<Standing, LayerFailure>,
) -> Result<Standing, LayerFailure> {
    let above = above?;
    match (below?, above) {
        (_, Standing::Closed) => Ok(Standing::Closed),
        (Standing::PeerClosed, _) => Ok(Standing::PeerClosed),
        (_, above) => Ok(above),
    }
}

fn put(message: &[u8], text: &mut Vec<u8>, ends: &mut Vec<usize>) {
    text.extend_from_slice(message);
    ends.push(text.len());
}

impl From<tls::State> for Standing {
    fn from(state: tls::State) -> Self {
        match state {
            tls::State::Handshaking => Self::Handshaking,
            tls::State::Open => Self::Open,
            tls::State::PeerClosed => Self::PeerClosed,
        }
    }
}

impl From<websocket::State> for Standing {
    fn from(state: websocket::State) -> Self {
        match state {
            websocket::State::Handshaking => Self::Handshaking,
            websocket::State::Open => Self::Open,
            websocket::State::Closed => Self::Closed,
        }
    }
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;

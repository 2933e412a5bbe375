//! Where the bytes of a socket become plain text, and plain text becomes the bytes of a socket.

/// What lies between a connection's socket and its framing. Only [`Layer::receive`] and [`Layer::send`] know of it.
#[derive(Debug, Default)]
pub enum Layer {
    /// Nothing: TCP.
    #[default]
    Plain,
}

impl Layer {
    /// Gives what the socket received to `plain`, piece by piece, as the text that it stands for.
    pub fn receive(&mut self, bytes: &[u8], mut plain: impl FnMut(&[u8])) {
        match self {
            Self::Plain => plain(bytes),
        }
    }

    /// Gives the bytes that stand for this text to `socket`, piece by piece; `false`: it took one of them no more.
    pub fn send(&mut self, text: &[u8], mut socket: impl FnMut(&[u8]) -> bool) -> bool {
        match self {
            Self::Plain => socket(text),
        }
    }
}

//! Send buffers, and what is told of sends. They are over when they are made, so few buffers are ever needed; they are
//! made as they are.

use std::net::SocketAddr;

use crate::engine::{Event, SocketId};
use crate::limits::MESSAGE_BYTES;
use crate::stream::StreamId;

/// A send buffer that the shard holds.
pub struct Tx(Box<[u8]>);

impl Tx {
    /// What is sent of it.
    pub(super) fn first(&self, len: usize) -> &[u8] {
        &self.0[..len.min(MESSAGE_BYTES)]
    }
}

impl AsMut<[u8]> for Tx {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The pool.
pub struct Sends {
    free: Vec<Tx>,
    made: u16,
    most: u16,
}

impl Sends {
    pub fn new(most: u16) -> Self {
        Self { free: Vec::new(), made: 0, most }
    }

    pub fn take(&mut self) -> Option<Tx> {
        if let Some(tx) = self.free.pop() {
            return Some(tx);
        }
        (self.made < self.most).then(|| {
            self.made += 1;
            Tx(vec![0; MESSAGE_BYTES].into())
        })
    }

    pub fn put_back(&mut self, tx: Tx) {
        self.free.push(tx);
    }

    /// Buffers that the shard holds.
    pub fn used(&self) -> usize {
        usize::from(self.made) - self.free.len()
    }
}

/// How a send went that the shard is yet to hear of: it is at work when it sends.
pub enum Told {
    Sent { cookie: u64 },
    SendFailed { on: SocketId, to: SocketAddr, errno: i32, cookie: u64 },
    Wrote { stream: StreamId, bytes: usize },
}

impl Told {
    pub fn event(self) -> Event<'static> {
        match self {
            Self::Sent { cookie } => Event::Sent { cookie },
            Self::SendFailed { on, to, errno, cookie } => Event::SendFailed { on, to, errno, cookie },
            Self::Wrote { stream, bytes } => Event::Wrote { stream, bytes },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_buffers_are_made_than_there_may_be() {
        let mut sends = Sends::new(2);
        let (one, two) = (sends.take().unwrap(), sends.take().unwrap());
        assert!(sends.take().is_none() && sends.used() == 2);
        sends.put_back(one);
        assert!(sends.take().is_some() && sends.take().is_none());
        sends.put_back(two);
        assert_eq!(sends.used(), 1);
    }
}

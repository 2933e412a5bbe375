//! What the kernel drops before anybody reads it.

/// What the kernel has dropped at a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Because the receive buffer was full.
    pub full: u64,
    /// By a filter, or because the buffer was full while there was one: the kernel has one counter for both.
    pub filtered: u64,
}

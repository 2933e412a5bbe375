//! Why the process cannot run.

use super::{cores, gateways, netlink};
use crate::config::Findings;
use crate::engine::{socket, uring};
use crate::token::KeyFileError;

/// Why the process cannot run, in words for its operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("{0}")]
    Configuration(Findings),
    /// There are no keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// A shard cannot be pinned as wanted.
    #[error(transparent)]
    Core(#[from] cores::CoreError),
    /// The kernel's routing policy cannot be read.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Routes(#[from] netlink::Error),
    /// The kernel lacks what the engine needs.
    #[error(transparent)]
    Kernel(#[from] uring::Missing),
    /// A listener's socket cannot be made.
    #[error("listener {listener}: {why}")]
    Socket {
        /// The listener's name.
        listener: Box<str>,
        /// The reason, with a hint.
        why: socket::SocketError,
    },
    /// More sockets than can be numbered.
    #[error("too many sockets are open or closing; reload again in a few seconds")]
    OutOfNumbers,
    /// More gateways than can be numbered.
    #[error(transparent)]
    Gateways(#[from] gateways::OutOfNumbers),
    /// The admin address cannot be bound.
    #[error("{0}")]
    Admin(String),
    /// A shard cannot start.
    #[error("shard {number}: {why}")]
    Shard {
        /// Which.
        number: usize,
        /// The reason, with a hint.
        why: String,
    },
    /// A thread or the runtime cannot be made, or signals cannot be received.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopping,
    /// No shard is left.
    #[error("every shard has failed; see the log above")]
    AllShardsFailed,
    /// The control thread has ended.
    #[error("the control thread has failed; see the log above")]
    ControlFailed,
}

impl Error {
    /// The operator has to change the configuration, or a file that it names.
    pub fn is_configuration(&self) -> bool {
        use cores::CoreError;
        match self {
            Self::Configuration(_) | Self::Keys(_) => true,
            Self::Core(why) => !matches!(why, CoreError::Unknown(_) | CoreError::NotPinned { .. }),
            _ => false,
        }
    }
}

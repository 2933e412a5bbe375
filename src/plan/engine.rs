//! What drives the shards.

use std::fmt;

use crate::limits::{GLOMMIO_LOCKED_BYTES, RING_LOCKED_BYTES};

/// `[engine] kind`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// A ring of io_uring for each shard.
    #[default]
    Uring,
    /// The runtime glommio, where it is built.
    Glommio,
}

impl EngineKind {
    /// Those of this build.
    pub const BUILT: &[Self] =
        if cfg!(feature = "glommio") { &[Self::Uring, Self::Glommio] } else { &[Self::Uring] };

    /// As the configuration has it. `None`: there is no such engine.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Uring, Self::Glommio].into_iter().find(|kind| kind.name() == name)
    }

    /// As the configuration has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Glommio => "glommio",
        }
    }

    /// This build has it.
    pub fn is_built(self) -> bool {
        Self::BUILT.contains(&self)
    }

    /// Memory in bytes that a shard may lock, where the kernel counts it.
    pub const fn locked_bytes(self) -> u64 {
        match self {
            Self::Uring => RING_LOCKED_BYTES,
            Self::Glommio => GLOMMIO_LOCKED_BYTES,
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_their_names_whether_or_not_they_are_built() {
        for kind in [EngineKind::Uring, EngineKind::Glommio] {
            assert_eq!(EngineKind::from_name(&kind.to_string()), Some(kind));
        }
        assert_eq!(EngineKind::from_name("epoll"), None);
        assert_eq!(EngineKind::Glommio.is_built(), cfg!(feature = "glommio"));
        assert!(EngineKind::default().is_built());
    }
}

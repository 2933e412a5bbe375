//! Why the kernel's routing policy cannot be read, and what to do about it.

use std::io;

/// What was being read from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// Interfaces.
    Links,
    /// Addresses of interfaces.
    Addresses,
    /// The IPv6 address label table.
    Labels,
    /// Policy rules.
    Rules,
    /// Routes.
    Routes,
    /// Nexthop objects.
    Nexthops,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Links => "interfaces",
            Self::Addresses => "addresses",
            Self::Labels => "address labels",
            Self::Rules => "rules",
            Self::Routes => "routes",
            Self::Nexthops => "nexthop objects",
        })
    }
}

/// Why the kernel's routing policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The socket cannot be told to receive a group of events.
    #[error("cannot subscribe to the kernel's routing events (group {group}): {error}")]
    Subscribe {
        /// `RTNLGRP_*`
        group: u32,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The socket fails.
    #[error("the netlink socket fails while reading {object}: {error}")]
    Socket {
        /// What was being read.
        object: Object,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The kernel refuses the request.
    #[error("the kernel refuses to list {object}: {error}{}", detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Refused {
        /// What was being read.
        object: Object,
        /// Its error number.
        #[source]
        error: io::Error,
        /// Its own words, if it has any.
        detail: Option<String>,
    },
    /// The kernel's answer is not shaped as it has to be.
    #[error("the kernel's list of {object} cannot be read")]
    Malformed {
        /// What was being read.
        object: Object,
    },
    /// A message numbered ahead of the question came instead of its answer.
    #[error("the netlink socket is out of step: while reading {object}, an answer to no question came")]
    OutOfStep {
        /// What was being read.
        object: Object,
    },
    /// The lists changed while they were read, each time again.
    #[error("{object} changed during each of {attempts} attempts to list them")]
    Unstable {
        /// What was being read.
        object: Object,
        /// How often it was tried.
        attempts: u32,
    },
}

impl Error {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Open(error) | Self::Socket { error, .. } | Self::Subscribe { error, .. } => {
                match error.raw_os_error() {
                    Some(libc::EAFNOSUPPORT | libc::EPERM | libc::EACCES) => {
                        "allow netlink sockets: in a systemd unit add AF_NETLINK to \
                         RestrictAddressFamilies=, in a container let the seccomp profile pass \
                         socket(AF_NETLINK)"
                    }
                    Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (LimitNOFILE=)",
                    _ => "see the error; `ip route` on the same host should fail alike",
                }
            }
            Self::Refused { .. } => {
                "the kernel must be 6.1 or later with CONFIG_IP_MULTIPLE_TABLES; `ip rule` and \
                 `ip nexthop` on the same host should fail alike"
            }
            Self::Malformed { .. } => {
                "this kernel speaks a netlink that this version does not know: please report it with \
                 the output of `uname -r`"
            }
            Self::OutOfStep { .. } => {
                "it is tried again; if it lasts, please report it with the output of `uname -r`"
            }
            Self::Unstable { .. } => {
                "the routing tables are changing too fast to be read: look for a flapping routing \
                 daemon with `ip monitor route`"
            }
        }
    }
}

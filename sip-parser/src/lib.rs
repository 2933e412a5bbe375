//! A zero-copy SIP parser: spans into the received bytes, storage owned by the caller.
//!
//! Two layers. [`parse`] makes one pass over a datagram and indexes its lines; it allocates nothing and
//! judges only what is needed to delimit the message. Values are parsed when they are asked for:
//!
//! ```
//! use sip_parser::{HeaderLine, HeaderName, NameAddr, Start, Via, parse};
//!
//! let bytes = b"OPTIONS sip:bob@192.0.2.4 SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77\r\n\
//!     From: <sip:anna@192.0.2.1>;tag=a1\r\nTo: <sip:bob@192.0.2.4>\r\n\
//!     Call-ID: 7\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\r\n";
//! let mut lines = [HeaderLine::EMPTY; 64];
//! let message = parse(bytes, &mut lines)?;
//! assert!(matches!(message.start(), Start::Request(_)));
//! let via = Via::parse(message.value(HeaderName::Via))?;
//! assert_eq!(via.branch(), Some(&b"z9hG4bK77"[..]));
//! let from = NameAddr::parse(message.value(HeaderName::From))?;
//! assert_eq!(from.tag(), Some(&b"a1"[..]));
//! # Ok::<(), sip_parser::Error>(())
//! ```
//!
//! A leniency is named where it is taken (trailing `;`, brackets around `received`, three colons in
//! IPv6); everything else follows RFC 3261 §25.1. No input makes it panic: tests feed it every prefix
//! and random mutations of its corpus.
#![deny(unsafe_code)]

#[cfg(test)]
mod altered;
mod block;
mod chars;
mod error;
mod grammar;
mod header;
mod host;
mod index;
mod list;
mod message;
mod name_addr;
mod params;
mod scalars;
mod scan;
mod span;
mod start_line;
mod uri;
mod via;

pub use error::{Error, Rule};
pub use header::HeaderName;
pub use host::{Host, address};
pub use index::parse;
pub use list::{Value, Values};
pub use message::{HeaderLine, Lines, MAX_LINES, Message, RequestValues, Sequence};
pub use name_addr::NameAddr;
pub use params::{Param, Params};
pub use scalars::{CSeq, call_id, content_length, expires, max_forwards, option_tags};
pub use span::Span;
pub use start_line::{RequestLine, Start, StatusLine};
pub use uri::{Scheme, Uri, percent_decode};
pub use via::{Rport, Via};

/// Largest message in bytes: what a span can address, and more than a UDP datagram carries.
pub const MAX_MESSAGE: usize = 65_535;

//! Every bound in one place: what it is, why that number, and what happens at the bound.

/// Largest message, in bytes, received or sent: the largest UDP datagram (RFC 3261 §18.1.1 asks for 65,535).
pub const MESSAGE_BYTES: usize = 65_535;

/// Most header lines of a message; one more is answered 513 (or dropped, for a response).
/// Twice what RFC 4475's longest message has per kind; the index is 2 KiB of stack.
pub const HEADER_LINES: usize = 160;

/// Most listeners of a configuration: they are numbered in 12 bits of the tokens' and tables' space.
pub const LISTENERS: usize = 1_024;

/// Most `[[route]]` rules of a configuration.
pub const RULES: usize = 65_536;

//! What tests of the engines share: `datagrams.rs` and `streams.rs` stand in the tests of each of them.

pub mod harness;

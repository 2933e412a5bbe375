//! placeholder

pub mod netlink;

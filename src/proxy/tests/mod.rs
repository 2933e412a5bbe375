//! Literals in, literals out: the host of [`world`] and what it makes of messages.

mod answers;
mod candidates;
mod dialogs;
mod failover;
mod forwarding;
mod groups;
mod limits;
mod names;
mod responses;
mod routing;
mod set;
mod size;
mod spare;
mod stateful;
mod streams;
mod tcp;
mod tls;
mod tops;
mod transactions;
mod usual;
mod validation;
mod websocket;
mod world;

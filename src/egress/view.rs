//! The listeners of a Plan as a Fib sees them.

use crate::fib::Fib;
use crate::net::Transport;
use crate::plan::{ListenerId, Plan};

/// The listeners of a [`Plan`] as a [`Fib`] sees them; part of each snapshot.
///
/// All that the choice needs and that depends on nothing but the two is worked out once here.
pub struct View {}

/// Whether a listener can be sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerState {
    /// Its address is on the host, its device is up.
    Up,
    /// Its address is on none of the host's interfaces.
    AddressAbsent,
    /// The interface that carries its address is down.
    HomeDown,
    /// There is no interface of its `device`'s name.
    DeviceAbsent,
    /// Its `device` is down.
    DeviceDown,
}

impl View {
    /// Looks up devices, homes of addresses and states of all listeners.
    pub fn new(plan: &Plan, fib: &Fib) -> Self {
        let _ = (plan, fib);
        Self {}
    }

    /// Whether the listener can be sent from.
    pub fn state(&self, listener: ListenerId) -> ListenerState {
        let _ = listener;
        todo!()
    }

    /// [`View::state`] is [`ListenerState::Up`].
    pub fn is_up(&self, listener: ListenerId) -> bool {
        self.state(listener) == ListenerState::Up
    }

    /// The listener with this identity, present or `formerly`.
    pub fn by_identity(&self, identity: u32) -> Option<ListenerId> {
        let _ = identity;
        todo!()
    }

    /// The listener itself if it has this transport, else its sibling: the first listener of that
    /// transport with the same address, device and mark.
    pub fn sibling(&self, plan: &Plan, listener: ListenerId, transport: Transport) -> Option<ListenerId> {
        let _ = (plan, listener, transport);
        todo!()
    }
}

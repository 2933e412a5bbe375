//! Where a request goes: what [`super::target`] finds.

use sip_parser::{Host, Scheme, Uri};

use crate::dns::{HostName, Question as Name};
use crate::egress::{Exit, Reason};
use crate::net::{GatewayId, ListenerId, NextHop, Transport, canonical};
use crate::plan::{Listener, Plan};
use crate::snapshot::Snapshot;
use crate::stream::Number;

use super::names;
use super::place::Place;
use super::preprocess::explicit_transport;

/// Where a request goes, and from which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub next_hop: NextHop,
    pub egress: Exit,
    /// The gateway of a group that it is.
    pub gateway: Option<GatewayId>,
    /// By which stream.
    pub stream: Number,
    /// It is large: it leaves over TCP, from this listener, and as is said above where no connection can be made.
    pub by_size: Option<ListenerId>,
}

impl Aim {
    /// Where the request is sent, from which listener, and by which stream.
    #[inline(always)]
    pub fn sent(&self) -> (NextHop, Exit, Number) {
        match self.by_size {
            None => (self.next_hop, self.egress, self.stream),
            Some(listener) => {
                let next_hop = NextHop { transport: Transport::Tcp, ..self.next_hop };
                (next_hop, Exit { listener, ..self.egress }, Number::OPENED)
            }
        }
    }

    /// The listener that the request is sent from.
    #[inline(always)]
    pub fn sender<'p>(&self, plan: &'p Plan) -> &'p Listener {
        plan.listener(self.by_size.unwrap_or(self.egress.listener))
    }

    /// The dialog's listener is gone or has no path: another one was found.
    pub fn left_dialog(&self) -> bool {
        self.egress.reason != Reason::Dialog
    }

    /// Whether the request goes to the owner of this URI.
    pub fn is_at(&self, snapshot: &Snapshot, uri: &Uri<'_>) -> bool {
        let NextHop { transport, address } = self.next_hop;
        let Some(Place { host, port }) = Place::of(uri, false) else { return false };
        let Host::Name(name) = host else {
            let here = host.ip().map(canonical) == Some(address.ip());
            return here && port.unwrap_or(transport.default_port()) == address.port();
        };
        // The question is the one that led here: with the URI's transport, or with that of a rule or a dialog.
        let Some(name) = HostName::new(name) else { return false };
        let sips = uri.scheme == Scheme::Sips;
        [explicit_transport(uri), Some(transport)].into_iter().any(|transport| {
            let question = Name { name, port, transport, sips };
            names::leads_to(snapshot, &question, address)
        })
    }
}

//! RFC 3261 §16.6 step 7: the next hops that the message itself says, by its Route or its Request-URI.

use std::net::SocketAddr;

use sip_parser::{Host, Uri};

use crate::dns::{HostName, Question as Name, Unresolved};
use crate::egress::{Question, Reason};
use crate::net::{NextHop, Transport, canonical};
use crate::snapshot::Snapshot;
use crate::stream::{Number, peer_mark};
use crate::token::Path;

use super::aim::Aim;
use super::candidates::Origin;
use super::place::Place;
use super::preprocess::{Preprocessed, ToFlow, explicit_transport};
use super::reply::Reply;
use super::target::{By, Search};
use super::validate::Request;

/// A next hop over UDP that a message names by its address.
#[derive(Clone, Copy)]
pub(super) struct PlainlyNamed {
    next_hop: NextHop,
    /// Identity of the listener that the dialog says, if the request is in one.
    dialog: Option<u32>,
}

impl Search<'_> {
    /// [`Search::name_by_message`] as a function, for where that is one of several entries.
    #[inline(never)]
    pub fn name_where_it_says(
        &mut self,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
        by: By<'_>,
    ) -> Result<(), Reply> {
        self.name_by_message(request, pre, by)
    }

    /// The next hop of a request whose Request-URI is an IPv4 address and maybe a port, and where no more than a dialog says where it
    /// goes, as of most: what [`Search::name_by_message`] comes to.
    #[inline(always)]
    pub fn plainly_named(
        &self,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
        by: By<'_>,
    ) -> Option<PlainlyNamed> {
        let dialog = match by {
            By::Rule(None) => None,
            By::Dialog(dialog) => Some(dialog.egress()),
            By::Rule(Some(_)) => return None,
        };
        let uri = pre.uri(request);
        let says_more = || [&b"transport"[..], b"maddr"].into_iter().any(|name| uri.params().has(name));
        let is_routed = pre.flow.is_some() || pre.next_route.is_some();
        if is_routed || self.sips || self.weight.is_some() || says_more() {
            return None;
        }
        let Some(Host::V4(ip)) = uri.host() else { return None };
        let transport = Transport::Udp;
        let port = uri.port().unwrap_or(transport.default_port());
        Some(PlainlyNamed { next_hop: NextHop { transport, address: (ip, port).into() }, dialog })
    }

    /// It was allowed before: [`Search::aim`] is the way there.
    #[inline(always)]
    pub fn is_as_before(&mut self, plain: &PlainlyNamed) -> bool {
        let Self { snapshot, recent, asked, aim, candidates, .. } = self;
        let &PlainlyNamed { next_hop, dialog } = plain;
        let question = Question { next_hop, ..asked.question };
        let Some(egress) = recent.allowed(snapshot.generation, dialog, &question) else { return false };
        (asked.question.next_hop, asked.is_asked) = (next_hop, true);
        let stream = Number::NONE;
        candidates.push(next_hop, stream, Origin::RequestUri, None);
        *aim = Some(Aim { next_hop, egress, gateway: None, stream, by_size: None });
        true
    }

    /// It may be sent to by [`Search::aim`], if that is the way there and not to where a dialog's transport leads.
    #[cold]
    pub fn note_allowed(&mut self, plain: &PlainlyNamed) {
        let Some(Aim { egress, .. }) = self.aim else { return };
        if self.asked.question.next_hop == plain.next_hop {
            let Snapshot { generation, fib, .. } = self.snapshot;
            self.recent.allow(*generation, fib, plain.dialog, &self.asked.question, egress);
        }
    }

    /// The next hops that the message itself says.
    ///
    /// §16.6 step 7: "the proxy MUST apply the procedures to the first value in the Route header field, if
    /// present, else the Request-URI. […] Independently of which URI is being used as input to the
    /// procedures of [4], if the Request-URI specifies a SIPS resource, the proxy MUST follow the
    /// procedures of [4] as if the input URI were a SIPS URI."
    #[inline(always)]
    pub fn name_by_message(
        &mut self,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
        by: By<'_>,
    ) -> Result<(), Reply> {
        if let Some(flow) = pre.flow {
            return self.name_flow(flow, by);
        }
        let (uri, origin) = match &pre.next_route {
            Some(route) => (&route.uri, Origin::Route),
            None => (pre.uri(request), Origin::RequestUri),
        };
        let is_stripped = origin == Origin::RequestUri && pre.maddr_stripped;
        let transport = self.transport(uri, is_stripped, by)?;
        let Place { host, port } = Place::of(uri, is_stripped).ok_or(Reply::Scheme)?;
        if let Host::Name(name) = host {
            return self.name_by_name(name, (port, transport), origin);
        }
        // "if no transport protocol is specified, but the TARGET is a numeric IP address, the client SHOULD use UDP for
        // a SIP URI, and TCP for a SIPS URI" (RFC 3263 §4.1).
        let transport = match self.sips {
            true => transport.filter(|t| *t == Transport::Wss).unwrap_or(Transport::Tls),
            false => transport.unwrap_or(Transport::Udp),
        };
        let port = port.unwrap_or(transport.default_port());
        // Each by itself, because what either may be is put together field by field.
        match host {
            Host::V4(ip) => self.name(NextHop { transport, address: (ip, port).into() }, origin),
            other => {
                let ip = other.ip().map(canonical).ok_or(Reply::Scheme)?;
                self.name_apart(NextHop { transport, address: SocketAddr::new(ip, port) }, origin);
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn name_apart(&mut self, next_hop: NextHop, origin: Origin) {
        self.name(next_hop, origin);
    }

    /// The next hops that a host name of the message leads to, with the port and the transport that are asked for.
    #[inline(never)]
    fn name_by_name(
        &mut self,
        host: &[u8],
        (port, transport): (Option<u16>, Option<Transport>),
        origin: Origin,
    ) -> Result<(), Reply> {
        let unknown = || Reply::Unresolved { why: Unresolved::NoSuchName, by_rule: false };
        let name = HostName::new(host).filter(|name| !self.is_nobodys(name)).ok_or_else(unknown)?;
        self.by_name(&Name { name, port, transport, sips: self.sips }, origin)
    }

    /// The egress listener's transport if a rule or a dialog names one, else the URI's; `None`: nothing says which. In a
    /// dialog what the remote target asks for explicitly goes first. `sips` is never downgraded. Where a maddr is stripped, so is
    /// what the URI says.
    #[inline(always)]
    fn transport(&self, uri: &Uri<'_>, is_stripped: bool, by: By<'_>) -> Result<Option<Transport>, Reply> {
        // As of nearly all.
        match by {
            By::Rule(None) if !self.sips && !uri.params().has(b"transport") => Ok(None),
            _ => self.transport_said(uri, is_stripped, by),
        }
    }

    /// The same where something may say it.
    #[inline(never)]
    fn transport_said(
        &self,
        uri: &Uri<'_>,
        is_stripped: bool,
        by: By<'_>,
    ) -> Result<Option<Transport>, Reply> {
        let written = uri.params().value(b"transport").filter(|_| !is_stripped);
        let explicit = written.and_then(Transport::from_token);
        if self.sips {
            return Ok(explicit_transport(uri).filter(|_| written.is_some()));
        }
        match by {
            By::Rule(Some(choice)) => Ok(Some(self.snapshot.plan.transport_of(choice, explicit))),
            _ if explicit.is_none() && written.is_some() => {
                Err(Reply::Unresolved { why: Unresolved::NoTransport, by_rule: false })
            }
            By::Rule(None) => Ok(explicit),
            By::Dialog(dialog) => {
                let listener = self.snapshot.view.by_identity(dialog.egress());
                let own = listener.map(|id| self.snapshot.plan.listener(id).transport);
                Ok(explicit.or(own))
            }
        }
    }

    /// The client's end of the connection that a Route of ours names.
    ///
    /// RFC 5626 §5.3.1: "the proxy removes the Route header field value and forwards the request over the 'logical flow'
    /// identified by the flow token, that is known to deliver data to the specific target UA instance. If the flow token has
    /// been tampered with, the proxy SHOULD send a 403 (Forbidden) response. If the flow no longer exists, the proxy SHOULD send
    /// a 430 (Flow Failed) response to the request." That of an earlier process is gone, whatever keys there were.
    #[cold]
    fn name_flow(&mut self, ToFlow { path, is_forged }: ToFlow, by: By<'_>) -> Result<(), Reply> {
        let Path { listener, flow } = path;
        let listener = self.snapshot.view.by_identity(listener).ok_or(Reply::FlowFailed)?;
        if self.nonce.is_some_and(|nonce| flow.mark != peer_mark(nonce, flow.peer)) {
            return Err(Reply::FlowFailed);
        }
        if is_forged {
            return Err(Reply::FlowForged);
        }
        let reason = if matches!(by, By::Dialog(_)) { Reason::Dialog } else { Reason::Binding };
        self.client = Some((path, reason));
        let transport = self.snapshot.plan.listener(listener).transport;
        let stream = Number::from_bits(flow.connection).with_serial(flow.serial);
        self.candidates.push(NextHop { transport, address: flow.peer }, stream, Origin::Flow, None);
        Ok(())
    }
}

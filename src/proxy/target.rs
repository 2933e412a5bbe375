//! RFC 3261 §16.5 and §16.6 step 7: the next hop, and the listener that the request leaves from.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use sip_parser::{Host, Scheme, Uri, address};

use crate::egress::{Egress, NoEgress, Pin, Question, Reason, Recent};
use crate::net::{ListenerId, NextHop, Transport, canonical};
use crate::rules::{EgressChoice, Target};
use crate::snapshot::Snapshot;
use crate::token::Verified;

use super::forbidden;
use super::names;
use super::preprocess::{Preprocessed, explicit_transport};
use super::reply::Reply;
use super::validate::Request;

/// Where a request goes, and from which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub next_hop: NextHop,
    pub egress: Egress,
}

/// What chooses the listener.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// A valid token.
    Dialog(&'a Verified),
    /// A rule, with its `egress` if it names one.
    Rule(Option<&'a EgressChoice>),
}

/// Looks for the way of one request.
pub(super) struct Search<'a> {
    pub snapshot: &'a Snapshot,
    pub recent: &'a mut Recent,
    /// Where the request came in.
    pub ingress: ListenerId,
    /// [`crate::token::TransactionKey::plain`]
    pub flow: u64,
    /// What egress was asked last.
    pub asked: Option<Question>,
    /// What was found: it is large, and not moved once it is there.
    pub aim: Option<Aim>,
}

impl Search<'_> {
    /// The way of a transaction that was decided before.
    pub fn pinned(&mut self, pin: &Pin) -> Result<(), NoEgress> {
        let question = self.question(pin.next_hop);
        let Snapshot { generation, plan, fib, view, .. } = self.snapshot;
        let egress = *self.recent.pinned(*generation, plan, fib, view, pin, &question)?;
        self.aim = Some(Aim { next_hop: pin.next_hop, egress });
        Ok(())
    }

    /// The way to where the message itself says.
    ///
    /// §16.6 step 7: "the proxy MUST apply the procedures to the first value in the Route header field, if
    /// present, else the Request-URI. […] Independently of which URI is being used as input to the
    /// procedures of [4], if the Request-URI specifies a SIPS resource, the proxy MUST follow the
    /// procedures of [4] as if the input URI were a SIPS URI."
    pub fn follow(&mut self, request: &Request<'_>, pre: &Preprocessed<'_>, by: By<'_>) -> Result<(), Reply> {
        let request_uri = pre.uri(request);
        let (uri, is_route) = match &pre.next_route {
            Some(route) => (&route.uri, true),
            None => (request_uri, false),
        };
        let sips = request_uri.scheme == Scheme::Sips || uri.scheme == Scheme::Sips;
        let transport = self.transport(uri, sips, by)?;
        let place = Place::of(uri, !is_route && pre.maddr_stripped).ok_or(Reply::Scheme)?;
        let port = place.port.unwrap_or(transport.default_port());
        let ip = match place.host {
            Host::V4(ip) => Ok(IpAddr::V4(ip)),
            Host::V6(ip) => Ok(canonical(ip.into())),
            Host::Name(name) => Err(name),
        };
        let found = match ip {
            Ok(ip) => {
                let address = SocketAddr::new(ip, port);
                self.choose_from_message(NextHop { transport, address }, by)
            }
            Err(name) => self.follow_name(name, transport, port, by),
        };
        found.map_err(|reply| match reply {
            Reply::Forbidden(forbidden::Forbidden::Ourselves) if !is_route => Reply::NotFound,
            reply => reply,
        })
    }

    /// The way to the first address of a name that there is a way to.
    #[inline(never)]
    fn follow_name(&mut self, name: &[u8], transport: Transport, port: u16, by: By<'_>) -> Result<(), Reply> {
        let mut failure = Reply::Unresolved;
        for ip in names::of(self.snapshot, name) {
            let address = SocketAddr::new(canonical(*ip), port);
            match self.choose_from_message(NextHop { transport, address }, by) {
                Err(reply) => failure = reply,
                found => return found,
            }
        }
        Err(failure)
    }

    /// The way to a rule's literal next hop.
    pub fn literal(&mut self, target: &Target, egress: Option<&EgressChoice>) -> Result<(), Reply> {
        let by = By::Rule(egress);
        let transport = |own: Option<Transport>| {
            egress.map(|choice| self.snapshot.plan.transport_of(choice)).or(own).unwrap_or(Transport::Udp)
        };
        match target {
            Target::Address { transport: own, ip, port, .. } => {
                let next_hop = NextHop { transport: transport(*own), address: SocketAddr::new(*ip, *port) };
                self.choose(next_hop, by).map(|_| ())
            }
            Target::Name { transport: own, host, port, .. } => {
                let transport = transport(*own);
                let mut failure = Reply::Unresolved;
                for ip in names::of(self.snapshot, host.as_bytes()) {
                    let address = SocketAddr::new(canonical(*ip), *port);
                    match self.choose(NextHop { transport, address }, by) {
                        Err(reply) => failure = reply,
                        Ok(_) => return Ok(()),
                    }
                }
                Err(failure)
            }
            Target::RequestUri => Err(Reply::Unresolved),
        }
    }

    /// The egress listener's transport if a rule or a dialog names one, else the URI's, else UDP. In a
    /// dialog what the remote target asks for explicitly goes first. `sips` is never downgraded.
    fn transport(&self, uri: &Uri<'_>, sips: bool, by: By<'_>) -> Result<Transport, Reply> {
        let explicit = explicit_transport(uri);
        if sips {
            return Ok(explicit.filter(|t| *t == Transport::Wss).unwrap_or(Transport::Tls));
        }
        let unknown = explicit.is_none() && uri.params().has(b"transport");
        match by {
            By::Rule(Some(choice)) => Ok(self.snapshot.plan.transport_of(choice)),
            _ if unknown => Err(Reply::Unresolved),
            By::Rule(None) => Ok(explicit.unwrap_or(Transport::Udp)),
            By::Dialog(dialog) => {
                let listener = self.snapshot.view.by_identity(dialog.egress());
                let own = listener.map(|id| self.snapshot.plan.listener(id).transport);
                Ok(explicit.or(own).unwrap_or(Transport::Udp))
            }
        }
    }

    /// A next hop that stands in a message: not everything is sent to.
    #[inline(always)]
    fn choose_from_message(&mut self, next_hop: NextHop, by: By<'_>) -> Result<(), Reply> {
        let plan = &self.snapshot.plan;
        forbidden::check(&self.snapshot.ours, next_hop.address).map_err(Reply::Forbidden)?;
        let listener = plan.listener(self.choose(next_hop, by)?);
        forbidden::check_egress(listener, next_hop.address).map_err(Reply::Forbidden)?;
        let ip = next_hop.address.ip();
        let narrowed = matches!(by, By::Dialog(_)) && !listener.dialog_to.is_empty();
        if narrowed && !listener.dialog_to.iter().any(|net| net.contains(&ip)) {
            return Err(Reply::OutsideDialogTo);
        }
        Ok(())
    }

    /// Finds the listener.
    #[inline(always)]
    fn choose(&mut self, next_hop: NextHop, by: By<'_>) -> Result<ListenerId, Reply> {
        let question = self.question(next_hop);
        let Snapshot { generation, plan, fib, view, .. } = self.snapshot;
        let egress = match by {
            By::Dialog(dialog) => {
                self.recent.dialog(*generation, plan, fib, view, dialog.egress(), &question)
            }
            By::Rule(Some(choice)) => self.recent.overridden(*generation, plan, fib, view, choice, &question),
            By::Rule(None) => self.recent.auto(*generation, plan, fib, view, &question),
        };
        let egress = *egress.map_err(|why| Reply::NoEgress(next_hop, why))?;
        self.aim = Some(Aim { next_hop: on_link(next_hop, &egress), egress });
        Ok(egress.listener)
    }

    #[inline]
    fn question(&mut self, next_hop: NextHop) -> Question {
        let question = Question { next_hop, ingress: self.ingress, flow: self.flow };
        self.asked = Some(question);
        question
    }
}

impl Aim {
    /// The dialog's listener is gone or has no path: another one was found.
    pub fn left_dialog(&self) -> bool {
        self.egress.reason != Reason::Dialog
    }

    /// Whether the request goes to the owner of this URI.
    pub fn is_at(&self, snapshot: &Snapshot, uri: &Uri<'_>) -> bool {
        Place::of(uri, false).is_some_and(|place| {
            let port = place.port.unwrap_or(self.next_hop.transport.default_port());
            port == self.next_hop.address.port()
                && place.addresses(snapshot).any(|ip| ip == self.next_hop.address.ip())
        })
    }
}

/// A link-local address means something on one link only: the one that the egress leaves by.
#[inline]
fn on_link(next_hop: NextHop, egress: &Egress) -> NextHop {
    match next_hop.address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => NextHop {
            address: SocketAddrV6::new(*v6.ip(), v6.port(), 0, egress.route.dev).into(),
            ..next_hop
        },
        _ => next_hop,
    }
}

/// Host and port of a URI, as the procedures of RFC 3263 begin: `maddr` goes before the host.
struct Place<'a> {
    host: Host<'a>,
    port: Option<u16>,
}

impl<'a> Place<'a> {
    /// `None`: the URI has no host.
    #[inline]
    fn of(uri: &Uri<'a>, without_maddr: bool) -> Option<Self> {
        if without_maddr {
            return Some(Self { host: uri.host()?, port: None });
        }
        let host = match uri.params().value(b"maddr") {
            None => uri.host()?,
            Some(maddr) => match address(maddr) {
                Some(IpAddr::V4(ip)) => Host::V4(ip),
                Some(IpAddr::V6(ip)) => Host::V6(ip),
                None => Host::Name(maddr),
            },
        };
        Some(Self { host, port: uri.port() })
    }

    /// The address of the host, or all of its name's.
    fn addresses<'s>(&self, snapshot: &'s Snapshot) -> impl Iterator<Item = IpAddr> + use<'s, 'a> {
        let names = match self.host {
            Host::Name(name) => names::of(snapshot, name),
            Host::V4(_) | Host::V6(_) => &[],
        };
        self.host.ip().into_iter().chain(names.iter().copied()).map(canonical)
    }
}

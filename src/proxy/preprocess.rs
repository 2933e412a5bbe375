//! RFC 3261 §16.4: what the Request-URI and the Route headers come to, before anything is decided.

use std::ops::Range;

use sip_parser::{HeaderName, NameAddr, Uri};

use crate::limits::OWN_ROUTES;
use crate::net::Transport;
use crate::snapshot::Snapshot;
use crate::token::{Path, RECORD_ROUTE_LEN, RecordRoute, Sender, Verified, Verifier};

use super::names::names_us;
use super::reply::Reply;
use super::validate::Request;

/// The request as it goes on. Nothing is changed yet: [`super::forward`] makes edits of it.
#[derive(Default)]
pub(super) struct Preprocessed<'m> {
    /// The Request-URI from here on, where it is not the received one: the last Route value, because a strict router
    /// sent the request, or what a rule's `set` made of it.
    pub replaced: Option<Uri<'m>>,
    /// A rule's `set` made it: it stands in no part of the message.
    pub rewritten: bool,
    /// Its `maddr`, port and transport do not count: they name the listener that the request came in on.
    pub maddr_stripped: bool,
    /// Which Route values are left, counted from the top over all Route lines.
    pub kept: Range<usize>,
    /// The topmost of them.
    pub next_route: Option<NameAddr<'m>>,
    /// A valid token: to which side of the dialog the request goes.
    pub dialog: Option<Verified>,
    /// The connection that the request leaves by, as the last value of ours says: nothing else leads to whom it is for.
    pub flow: Option<ToFlow>,
    /// A Route or the Request-URI was a value of ours, or names us, but proves no dialog.
    pub named_us: bool,
    /// Tokens of our form that did not verify.
    pub bad_tokens: u64,
}

/// A connection that a value names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ToFlow {
    pub path: Path,
    /// No key of ours made the value.
    pub is_forged: bool,
}

impl<'m> Preprocessed<'m> {
    /// Reads the Request-URI and the Route values, once.
    ///
    /// # Errors
    /// A Route that has to be read is malformed.
    pub fn read(&mut self, snapshot: &Snapshot, request: &Request<'m>) -> Result<(), Reply> {
        if request.message.first(HeaderName::Route).is_some() {
            self.read_routes(snapshot, request)?;
        }
        self.strip_maddr(snapshot, request);
        Ok(())
    }

    /// The Request-URI that counts from here on.
    pub fn uri<'r>(&'r self, request: &'r Request<'m>) -> &'r Uri<'m> {
        self.replaced.as_ref().unwrap_or(request.uri)
    }

    /// This is the Request-URI from here on. What a `maddr` of ours did to the old one, it did before.
    pub fn rewrite(&mut self, uri: Uri<'m>) {
        (self.replaced, self.rewritten, self.maddr_stripped) = (Some(uri), true, false);
    }

    /// The Request-URI names us, and neither a Route nor a `maddr` leads on.
    pub fn is_for_us(&self, snapshot: &Snapshot, request: &Request<'m>) -> bool {
        let uri = self.uri(request);
        let names_us = match self.maddr_stripped {
            true => uri.host().is_some_and(|host| snapshot.ours.is_us(host, None)),
            false => !uri.params().has(b"maddr") && names_us(&snapshot.ours, uri),
        };
        self.next_route.is_none() && self.flow.is_none() && names_us
    }

    fn read_routes(&mut self, snapshot: &Snapshot, request: &Request<'m>) -> Result<(), Reply> {
        let mut reader = Reader::new(snapshot, request);
        let most = match request.uri.user() {
            Some(user) if RecordRoute::looks_like(user) => self.undo_strict_routing(&mut reader)?,
            _ => usize::MAX,
        };
        self.strip_own_routes(&mut reader, most)
    }

    /// "If the Request-URI of the request contains a value this proxy previously placed into a
    /// Record-Route header field […], the proxy MUST replace the Request-URI in the request with the last
    /// value from the Route header field, and remove that value from the Route header field."
    ///
    /// Gives how many Route values are left.
    #[cold]
    fn undo_strict_routing(&mut self, reader: &mut Reader<'_, 'm>) -> Result<usize, Reply> {
        let (mut last, mut count) = (None, 0);
        for value in reader.request.message.values(HeaderName::Route) {
            (last, count) = (Some(value?.text), count + 1);
        }
        if let Some(last) = last
            && self.is_ours(reader, reader.request.uri)
        {
            self.replaced = Some(NameAddr::route(last)?.uri);
            count -= 1;
        }
        Ok(count)
    }

    /// "If the first value in the Route header field indicates this proxy, the proxy MUST remove that
    /// value from the request."
    ///
    /// RFC 5658 §5: "a proxy MAY remove two Route headers instead of one when using the double
    /// Record-Routing". Where a dialog spirals through us, more of our values follow each other; all go,
    /// and the last of them says where to.
    fn strip_own_routes(&mut self, reader: &mut Reader<'_, 'm>, most: usize) -> Result<(), Reply> {
        let (message, mut count) = (reader.request.message, 0);
        for line in message.all(HeaderName::Route) {
            // Most of ours stand alone in their line.
            if count < most && self.strip_as_written(reader, message.text(line.value)) {
                count += 1;
                continue;
            }
            for value in message.values_in(line) {
                let value = value?;
                if count < most && self.next_route.is_none() {
                    self.strip(reader, value.text)?;
                }
                count += 1;
            }
        }
        self.kept.end = count.min(most);
        Ok(())
    }

    /// Takes a value off the top, if it is ours and stands there as we wrote it.
    fn strip_as_written(&mut self, reader: &mut Reader<'_, 'm>, value: &[u8]) -> bool {
        if self.next_route.is_some() || self.kept.start >= OWN_ROUTES {
            return false;
        }
        let Some((token, sender)) = reader.as_written(value) else { return false };
        self.belongs_to(Verified { token, sender, flow: None });
        self.kept.start += 1;
        true
    }

    /// Takes a value off the top, if it is ours.
    fn strip(&mut self, reader: &mut Reader<'_, 'm>, value: &'m [u8]) -> Result<(), Reply> {
        if self.strip_as_written(reader, value) {
            return Ok(());
        }
        let route = NameAddr::route(value)?;
        if self.kept.start == OWN_ROUTES || !self.is_ours(reader, &route.uri) {
            self.next_route = Some(route);
        } else {
            self.kept.start += 1;
        }
        Ok(())
    }

    /// What a token proves; the last one says where to.
    #[inline(always)]
    fn belongs_to(&mut self, dialog: Verified) {
        let flow = dialog.flow_onward();
        self.flow =
            flow.map(|flow| ToFlow { path: Path { listener: dialog.egress(), flow }, is_forged: false });
        self.dialog = Some(dialog);
    }

    /// Whether a URI is one that we wrote, or names us; notes what it proves.
    fn is_ours(&mut self, reader: &mut Reader<'_, 'm>, uri: &Uri<'m>) -> bool {
        let snapshot = reader.snapshot;
        let named = names_us(&snapshot.ours, uri);
        if let Some(verified) = uri.user().and_then(|user| reader.tokens.as_mut()?.read(user)) {
            // Keys may be shared with a Viaduct that is another hop of this dialog: its values are its own.
            if named || is_here(snapshot, &verified) {
                self.belongs_to(verified);
                return true;
            }
        }
        let path = uri.user().and_then(|user| Path::read(user, &snapshot.keys));
        let is_known = |path: &Path| named || snapshot.view.by_identity(path.listener).is_some();
        if let Some(path) = path.filter(is_known) {
            self.leads_past_the_dialog(ToFlow { path, is_forged: false });
            return true;
        }
        if named {
            self.named_us = true;
            self.read_unknown(uri.user().unwrap_or_default());
        }
        named
    }

    /// Whether the request may go there is for the rules to say.
    fn leads_past_the_dialog(&mut self, flow: ToFlow) {
        (self.flow, self.named_us, self.dialog) = (Some(flow), true, None);
    }

    /// What stands before our address and is no token that a key of ours made.
    fn read_unknown(&mut self, user: &[u8]) {
        let path = Path::claimed(user);
        self.bad_tokens += u64::from(path.is_some() || RecordRoute::looks_like(user));
        if let Some(path) = path {
            self.leads_past_the_dialog(ToFlow { path, is_forged: true });
        }
    }

    /// "If the Request-URI has a maddr parameter with a value the proxy is responsible for, and the
    /// request was received using the port and transport indicated (explicitly or by default) in the
    /// Request-URI, the proxy MUST strip the maddr and any non-default port or transport parameter and
    /// continue processing as if those values had not been present in the request."
    fn strip_maddr(&mut self, snapshot: &Snapshot, request: &Request<'m>) {
        let uri = self.uri(request);
        let Some(maddr) = uri.params().value(b"maddr") else { return };
        let on = snapshot.plan.listener(request.incoming.on);
        // RFC 7118 §5.2 has one form for WebSocket, with TLS below it or without.
        let is_indicated = match transport_of(uri) {
            Transport::Ws => on.transport.is_websocket(),
            other => on.transport == other,
        };
        let port = uri.port().unwrap_or(on.transport.default_port());
        let indicated = is_indicated && on.bind.port() == port;
        self.maddr_stripped = indicated && snapshot.ours.is_us_host(maddr);
    }
}

/// Reads the Route values of a request.
struct Reader<'r, 'm> {
    snapshot: &'r Snapshot,
    request: &'r Request<'m>,
    /// A token counts within a dialog only, that is with a To tag.
    tokens: Option<Verifier<'r>>,
}

impl<'r, 'm> Reader<'r, 'm> {
    fn new(snapshot: &'r Snapshot, request: &'r Request<'m>) -> Self {
        let tokens = request
            .to_tag
            .map(|to_tag| Verifier::new(&snapshot.keys, request.call_id, request.from_tag, to_tag));
        Self { snapshot, request, tokens }
    }

    /// What the token of a value proves that stands there byte for byte as we wrote it, which most do: known
    /// without reading it as a URI. `None` says nothing about the value.
    #[inline(always)]
    fn as_written(&mut self, value: &[u8]) -> Option<(RecordRoute, Sender)> {
        let (user, behind) = value.strip_prefix(b"<sip:")?.split_first_chunk::<RECORD_ROUTE_LEN>()?;
        let address = behind.strip_prefix(b"@")?.strip_suffix(b";lr>")?;
        let (token, sender) = self.tokens.as_mut()?.read_usual(user)?;
        let listener = self.snapshot.view.by_identity(token.own())?;
        let advertised = &self.snapshot.plan.listener(listener).advertise;
        if advertised.iter().any(|own| own.text.as_bytes() == address) { Some((token, sender)) } else { None }
    }
}

fn is_here(snapshot: &Snapshot, verified: &Verified) -> bool {
    let known = |identity| snapshot.view.by_identity(identity).is_some();
    known(verified.egress()) || known(verified.ingress())
}

/// The transport that a URI asks for; UDP where it asks for none. `sips` is TLS, whatever else is
/// written (RFC 3261 §19.1.2, §26.2.2).
pub(super) fn transport_of(uri: &Uri<'_>) -> Transport {
    explicit_transport(uri).unwrap_or(Transport::Udp)
}

/// The transport that a URI asks for; `None`: none, or one that we do not know.
pub(super) fn explicit_transport(uri: &Uri<'_>) -> Option<Transport> {
    let written = uri.params().value(b"transport").and_then(Transport::from_token);
    match (uri.scheme, written) {
        (sip_parser::Scheme::Sips, Some(Transport::Ws | Transport::Wss)) => Some(Transport::Wss),
        (sip_parser::Scheme::Sips, _) => Some(Transport::Tls),
        (_, written) => written,
    }
}

//! `[[listener]]`: names, binds, what is advertised. What a bind stands for on a host is [`crate::plan::expand`]'s.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::diagnostic::Findings;
use super::limits;
use super::network::{HostPort, host_port, network};
use super::plan::host_name;
use super::read::{Entry, Section as Table, Text};
use super::tls;
use crate::fib::Fib;
use crate::findings::what_a_bind_takes;
use crate::limits::LISTENERS;
use crate::net::Transport;
use crate::overload::{Limits, Owner};
use crate::plan::{Advertise, Bind, Section, SectionId, Sibling};
use crate::websocket::{Origin, Origins};

/// The listeners by name, for rules.
#[derive(Default)]
pub(super) struct Names {
    sections: Vec<Section>,
    /// Names of those with an error, which was told already: who names one is not to be told another.
    broken: Vec<Box<str>>,
}

impl Names {
    /// The `[[listener]]` of the name.
    pub fn find(&self, text: &Text<'_>, findings: &mut Findings) -> Option<SectionId> {
        if let Some(section) = self.of(text.text) {
            return Some(section.id);
        }
        if self.broken.iter().any(|name| **name == *text.text) {
            return None;
        }
        let hint = match self.one_of_many(text.text) {
            Some((section, address)) => format!(
                "the listeners of «{}» come and go with the host's addresses; give {address} a [[listener]] of its \
                 own, bind = \"{}:{}\", which takes it from «{}»",
                section.name,
                section.transport,
                SocketAddr::new(address, section.port),
                section.name
            ),
            None => {
                let sound = self.sections.iter().map(|section| &section.name);
                let known: Vec<&str> = sound.chain(&self.broken).map(|name| &**name).collect();
                match known[..] {
                    [] => "there is none at all: write [[listener]] with name and bind".to_owned(),
                    _ => format!("listeners are: {}", known.join(", ")),
                }
            }
        };
        findings.error(text.span.clone(), format!("there is no listener «{}»", text.text), hint);
        None
    }

    /// `NAME/ADDRESS`, where the name stands for the host's addresses.
    fn one_of_many(&self, text: &str) -> Option<(&Section, IpAddr)> {
        let (name, address) = text.split_once('/')?;
        let section = self.of(name).filter(|section| section.bind.follows())?;
        Some((section, address.parse().ok()?))
    }

    fn of(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| &*section.name == name)
    }

    /// The `[[listener]]` with this number.
    pub fn section(&self, id: SectionId) -> &Section {
        &self.sections[usize::from(id.0)]
    }

    /// All, in configured order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// For the Plan.
    pub fn into_sections(self) -> Arc<[Section]> {
        self.sections.into()
    }
}

/// Where a listener stands in the file.
pub(super) struct Place {
    pub bind: Range<usize>,
    pub device: Option<Range<usize>>,
}

/// All listeners with their places.
pub(super) fn build(
    entry: Option<Entry<'_>>,
    folder: Option<&Path>,
    fib: &Fib,
    limits: &mut Limits,
    findings: &mut Findings,
) -> (Names, Vec<Place>) {
    let mut all = All { names: Names::default(), places: Vec::new(), folder, limits };
    for table in entry.map(|e| e.sections("[[listener]]", findings)).unwrap_or_default() {
        all.add(table, fib, findings);
    }
    if all.names.sections.is_empty() && !findings.has_errors() {
        findings.error(
            0..0,
            "there is no listener",
            "write [[listener]] with name = \"public\" and bind = \"udp:203.0.113.10:5060\"",
        );
    }
    (all.names, all.places)
}

/// What stands behind `bind`.
const BIND: &str =
    r#""udp:ADDRESS:PORT", or with tcp, tls, ws or wss; an interface's name or * stands for its addresses"#;

struct All<'l> {
    names: Names,
    places: Vec<Place>,
    folder: Option<&'l Path>,
    limits: &'l mut Limits,
}

impl All<'_> {
    fn add(&mut self, mut table: Table<'_>, fib: &Fib, findings: &mut Findings) {
        let called = table
            .need("name", r#""NAME": what routes, logs and metrics call the listener"#, findings)
            .and_then(|e| e.text(findings));
        let bind = table.need("bind", BIND, findings).and_then(|e| e.text(findings));
        let device = table.take("device").map(|entry| entry.span);
        let parsed = bind.as_ref().and_then(|bind| parse_bind(bind, findings));
        let section = called.as_ref().and_then(|name| {
            let name = self.check_name(name, findings)?;
            let (transport, host_port) = parsed.as_ref()?;
            let port = host_port.port.unwrap_or(transport.default_port());
            let section = read(&mut table, name, *transport, port, findings);
            let shown = tls::Shown { advertise: &section.advertise, bound: host_port.host };
            let tls = tls::read(&mut table, *transport, &shown, self.folder, findings);
            Some(Section { tls, ..section })
        });
        if section.is_none() {
            // Its keys are known all the same, though their values were not looked at.
            for key in ["tcp", "advertise", "mark", "device", "dialog_to", "formerly", "origins"]
                .into_iter()
                .chain(tls::KEYS)
            {
                table.take(key);
            }
        }
        let limit = table.take("limit");
        table.finish(findings);
        if let (Some(section), Some((_, host)), Some(text)) = (section, parsed, bind)
            && let Some(bind) = which(&host, &section, &text, fib, findings)
        {
            let limit = limits::read(limit, Owner::Listener, &section.name, self.limits, findings);
            self.limits.listeners.push(limit);
            let place = Place { bind: text.span, device };
            self.push(Section { bind, ..section }, place, findings);
        }
        if let Some(name) = called.filter(|name| is_legal(name.text) && self.names.of(name.text).is_none()) {
            self.names.broken.push(name.text.into());
        }
    }

    fn check_name(&self, name: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
        if !is_legal(name.text) {
            findings.error(
                name.span.clone(),
                format!("«{}» is no name for a listener", name.text),
                "letters, digits, - _ and . make a name",
            );
            return None;
        }
        if self.names.of(name.text).is_some() {
            findings.error(
                name.span.clone(),
                format!("there are two listeners «{}»", name.text),
                "give one of them another name: routes, logs and metrics tell them apart by it",
            );
            return None;
        }
        Some(name.text.into())
    }

    fn push(&mut self, section: Section, place: Place, findings: &mut Findings) {
        let name = &section.name;
        let socket = |s: &Section| (s.transport, s.bind.clone(), s.port, s.device.clone());
        if let Some(other) = self.names.sections.iter().find(|other| socket(other) == socket(&section)) {
            findings.error(
                place.bind,
                format!("«{name}» and «{}» are on the same socket {}", other.name, section.bind_text()),
                "give one of them another port, address or device",
            );
            return;
        }
        let known = |other: &&Section| identities(other).iter().any(|id| identities(&section).contains(id));
        if let Some(other) = self.names.sections.iter().find(known) {
            findings.error(
                place.bind,
                format!("«{name}» and «{}» have the same identity in tokens", other.name),
                "rename one of them (and keep the old name in `formerly` if calls are running)",
            );
            return;
        }
        if self.names.sections.len() >= LISTENERS {
            findings.error(
                place.bind,
                format!("more than {LISTENERS} listeners"),
                "one whose bind names an interface, or *, stands for many addresses",
            );
            return;
        }
        let id = SectionId(self.names.sections.len() as u16);
        self.places.push(place);
        self.names.sections.push(Section { id, ..section });
    }
}

/// It can name a listener.
fn is_legal(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(legal)
}

/// Present and former identity of a literal listener; none of one that follows the host.
fn identities(section: &Section) -> Vec<u32> {
    let Some(ip) = section.bind.address() else { return Vec::new() };
    let (own, mut all) = section.identities(&section.name, SocketAddr::new(ip, section.port));
    all.push(own);
    all
}

/// `transport:host[:port]`
fn parse_bind<'t>(bind: &Text<'t>, findings: &mut Findings) -> Option<(Transport, HostPort<'t>)> {
    let Some((transport, rest)) = bind.text.split_once(':') else {
        let hint = "write transport, address and port: udp:203.0.113.10:5060, udp:[2001:db8::1]:5060, \
                    udp:eth0:5060, udp:*:5060";
        findings.error(bind.span.clone(), format!("«{}» is no bind", bind.text), hint);
        return None;
    };
    match Transport::from_token(transport.as_bytes()) {
        Some(transport) => Some((transport, host_port(rest, bind, findings)?)),
        None => {
            findings.error(
                bind.span.clone(),
                format!("«{transport}» is not a transport"),
                "a bind begins with udp, tcp, tls, ws or wss: udp:203.0.113.10:5060",
            );
            None
        }
    }
}

/// All but the bind's addresses, which [`which`] tells.
fn read(
    table: &mut Table<'_>,
    name: Box<str>,
    transport: Transport,
    port: u16,
    findings: &mut Findings,
) -> Section {
    let advertise = table.take("advertise").map(|e| read_advertise(&e, port, findings)).unwrap_or_default();
    let tcp = read_tcp(table.take("tcp"), transport, findings);
    let mark = table.take("mark").and_then(|e| e.number(1..i64::from(u32::MAX) + 1, findings));
    let device = table.take("device").and_then(|e| e.text(findings));
    let dialog_to = table.take("dialog_to").map(|e| e.texts(findings)).unwrap_or_default();
    let formerly = table.take("formerly").map(|e| e.texts(findings)).unwrap_or_default();
    Section {
        id: SectionId(0),
        name,
        transport,
        bind: Bind::All { v4: false, v6: false },
        port,
        tcp,
        device: device.and_then(|text| interface_name(&text, findings)),
        mark: mark.and_then(|mark| mark.try_into().ok()),
        advertise,
        dialog_to: dialog_to
            .iter()
            .filter_map(|text: &Text<'_>| -> Option<IpNet> { network(text, findings) })
            .collect(),
        formerly: formerly.iter().map(|text| text.text.into()).collect(),
        origins: table.take("origins").and_then(|entry| read_origins(&entry, transport, findings)),
        tls: None,
    }
}

/// Whether a listener takes connections besides: for UDP it does, unless it says no.
fn read_tcp(entry: Option<Entry<'_>>, transport: Transport, findings: &mut Findings) -> Sibling {
    let said = entry.as_ref().and_then(|entry| entry.boolean(findings));
    if transport != Transport::Udp {
        if let Some(entry) = entry {
            let message = format!("`tcp` is of listeners of the transport udp; this one has {transport}");
            findings.error(entry.span, message, "leave it out");
        }
        return Sibling::Absent;
    }
    match said {
        None => Sibling::Usual,
        Some(true) => Sibling::Wanted,
        Some(false) => Sibling::Absent,
    }
}

/// From which web pages browsers may connect.
fn read_origins(entry: &Entry<'_>, transport: Transport, findings: &mut Findings) -> Option<Arc<Origins>> {
    if !transport.is_websocket() {
        let message = format!("`origins` is of listeners over WebSocket; this one has {transport}");
        findings.error(entry.span.clone(), message, "leave it out");
        return None;
    }
    let texts = entry.texts(findings);
    let origin = |text: &Text<'_>| {
        let origin = Origin::parse(text.text);
        if origin.is_none() {
            findings.error(
                text.span.clone(),
                format!("«{}» is no origin of a web page", text.text),
                "write scheme and host, and the port where it is not the scheme's own: \"https://phone.example.net\"",
            );
        }
        origin
    };
    Some(Arc::new(Origins::new(texts.iter().filter_map(origin))))
}

fn interface_name(text: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
    // IFNAMSIZ is 16 with the closing NUL.
    if (1..16).contains(&text.text.len()) && !text.text.contains(['/', ' ']) {
        return Some(text.text.into());
    }
    findings.error(
        text.span.clone(),
        format!("«{}» is not an interface name", text.text),
        "write a name that `ip link` shows, of 15 characters at most: \"eth0\"",
    );
    None
}

/// One address, or a list of `{ to = NETWORK, as = ADDRESS }`.
fn read_advertise(entry: &Entry<'_>, port: u16, findings: &mut Findings) -> Vec<Advertise> {
    if !entry.is_list() && !entry.is_table() {
        let text = entry.text(findings);
        return text.and_then(|text| advertised_text(None, &text, port, findings)).into_iter().collect();
    }
    let mut all = Vec::new();
    for entry in entry.values(findings) {
        let Some(mut section) = entry.section("`advertise`", findings) else { continue };
        let to = section.take("to").and_then(|e| e.text(findings)).and_then(|text| network(&text, findings));
        let text = section
            .need("as", r#""ADDRESS:PORT": what Via and Record-Route say to those at `to`"#, findings)
            .and_then(|e| e.text(findings));
        section.finish(findings);
        all.extend(text.and_then(|text| advertised_text(to, &text, port, findings)));
    }
    all
}

fn advertised_text(
    to: Option<IpNet>,
    text: &Text<'_>,
    port: u16,
    findings: &mut Findings,
) -> Option<Advertise> {
    if let Some(address) = behind_scheme(text.text) {
        let message = format!(
            "«{}» is a URI: what is advertised is an address or a name, and perhaps a port",
            text.text
        );
        findings.error(text.span.clone(), message, format!("write \"{address}\""));
        return None;
    }
    let parts = host_port(text.text, text, findings)?;
    let port = parts.port.unwrap_or(port);
    match parts.host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            findings.error(
                text.span.clone(),
                format!("{ip} cannot be advertised: nobody can send to it"),
                "write the address under which neighbours reach this listener",
            );
            None
        }
        Ok(ip) => Some(Advertise::new(to, &ip.to_string(), port)),
        Err(_) => {
            let host = Text { text: parts.host, span: text.span.clone() };
            host_name(&host, findings).map(|name| Advertise::new(to, &name, port))
        }
    }
}

/// What follows `sip:` or `sips:`. A host may be called so, and a port follow.
fn behind_scheme(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(':').filter(|(scheme, _)| matches!(*scheme, "sip" | "sips"))?;
    rest.parse::<u16>().is_err().then_some(rest)
}

/// Which addresses are meant.
fn which(
    host: &HostPort<'_>,
    section: &Section,
    text: &Text<'_>,
    fib: &Fib,
    findings: &mut Findings,
) -> Option<Bind> {
    if host.host == "*" {
        return Some(Bind::All { v4: true, v6: true });
    }
    match host.host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Some(Bind::All { v4: ip.is_ipv4(), v6: ip.is_ipv6() }),
        Ok(ip) => literal(ip, host, section, text, findings),
        Err(_) if may_name_an_interface(host.host) => Some(Bind::Interface(host.host.into())),
        Err(_) => {
            findings.error(
                text.span.clone(),
                format!("«{}» is neither an address nor an interface's name", host.host),
                what_a_bind_takes(fib),
            );
            None
        }
    }
}

/// An interface may come later, so its absence is no mistake. A name that none can have is one: IFNAMSIZ is 16 with
/// the closing NUL; and digits and dots are a mistyped address.
fn may_name_an_interface(name: &str) -> bool {
    let address = name.chars().all(|c| c.is_ascii_digit() || c == '.');
    (1..16).contains(&name.len()) && !name.contains(['/', ' ', ':', '%', '*']) && !address
}

/// A literal address; a link-local one needs its link.
fn literal(
    ip: IpAddr,
    host: &HostPort<'_>,
    section: &Section,
    text: &Text<'_>,
    findings: &mut Findings,
) -> Option<Bind> {
    if ip.is_multicast() {
        findings.error(
            text.span.clone(),
            format!("{ip} is a multicast address"),
            "write an address of this host: `ip address` shows them",
        );
        return None;
    }
    let IpAddr::V6(v6) = ip else { return Some(Bind::Address(ip)) };
    if let Some(v4) = v6.to_ipv4_mapped() {
        findings.error(
            text.span.clone(),
            format!("{v6} is an IPv4 address in IPv6 clothes"),
            format!("write udp:{v4}:{}", section.port),
        );
        return None;
    }
    if !v6.is_unicast_link_local() {
        return Some(Bind::Address(ip));
    }
    let Some(link) = host.scope.or(section.device.as_deref()) else {
        findings.error(
            text.span.clone(),
            format!("the link-local address {v6} needs its interface"),
            format!("write udp:[{v6}%eth0]:{}", section.port),
        );
        return None;
    };
    Some(Bind::LinkLocal(v6, link.into()))
}

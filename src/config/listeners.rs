//! `[[listener]]`: names, binds expanded to addresses, what is advertised.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::Range;

use ipnet::IpNet;

use super::diagnostic::Findings;
use super::network::{HostPort, host_port, network};
use super::plan::host_name;
use super::read::{Entry, Section, Text};
use crate::fib::Fib;
use crate::limits::LISTENERS;
use crate::net::Transport;
use crate::plan::{Advertise, Listener, ListenerId};

/// Which listeners a name in the file stands for: one, or all that an interface name expanded to.
#[derive(Default)]
pub(super) struct Names(Vec<(Box<str>, ListenerId)>);

impl Names {
    fn of(&self, name: &str) -> impl Iterator<Item = ListenerId> {
        self.0.iter().filter(move |(known, _)| &**known == name).map(|&(_, id)| id)
    }

    /// All listeners of the name.
    pub fn all(&self, text: &Text<'_>, findings: &mut Findings) -> Vec<ListenerId> {
        let found: Vec<_> = self.of(text.text).collect();
        if found.is_empty() {
            let mut known: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
            known.dedup();
            findings
                .error(text.span.clone(), format!("there is no listener «{}»", text.text))
                .hint(format!("listeners are: {}", known.join(", ")));
        }
        found
    }

    /// The listener of the name, where one is meant.
    pub fn one(&self, text: &Text<'_>, findings: &mut Findings) -> Option<ListenerId> {
        let found = self.all(text, findings);
        if found.len() > 1 {
            let names: Vec<&str> = (self.0.iter())
                .filter(|(name, id)| found.contains(id) && **name != *text.text)
                .map(|(n, _)| &**n)
                .collect();
            findings
                .error(text.span.clone(), format!("«{}» stands for {} listeners", text.text, found.len()))
                .hint(format!("name one of them: {}", names.join(", ")));
            return None;
        }
        found.first().copied()
    }
}

/// What one `[[listener]]` says, before its bind is expanded.
struct Template {
    name: Box<str>,
    transport: Transport,
    port: u16,
    device: Option<Box<str>>,
    mark: Option<u32>,
    advertise: Vec<Advertise>,
    dialog_to: Vec<IpNet>,
    formerly: Vec<Box<str>>,
    place: Range<usize>,
}

/// All listeners, the names that stand for them, and the place of each one's `bind`.
pub(super) fn build(
    entry: Option<Entry<'_>>,
    fib: &Fib,
    findings: &mut Findings,
) -> (Vec<Listener>, Names, Vec<Range<usize>>) {
    let mut all = All::default();
    let sections = entry.map(|e| e.sections("[[listener]]", findings)).unwrap_or_default();
    let given = sections.len();
    for section in sections {
        all.add(section, fib, findings);
    }
    if all.listeners.is_empty() && !findings.has_errors() {
        let finding = findings.error(0..0, "there is no listener");
        finding.hint(match given {
            0 => "write [[listener]] with name = \"public\" and bind = \"udp:203.0.113.10:5060\"",
            _ => "none of the interfaces or wildcards named has an address on this host: see `ip address`",
        });
    }
    (all.listeners, all.names, all.places)
}

#[derive(Default)]
struct All {
    listeners: Vec<Listener>,
    names: Names,
    places: Vec<Range<usize>>,
}

impl All {
    fn add(&mut self, mut section: Section<'_>, fib: &Fib, findings: &mut Findings) {
        let name = section.need("name", findings).and_then(|e| e.text(findings));
        let bind = section.need("bind", findings).and_then(|e| e.text(findings));
        let parsed = bind.as_ref().and_then(|bind| parse_bind(bind, findings));
        let template = name.and_then(|name| {
            let name = self.check_name(&name, findings)?;
            let (transport, host_port) = parsed.as_ref()?;
            let place = bind.as_ref()?.span.clone();
            Some(read(&mut section, name, *transport, host_port.port.unwrap_or(5060), place, findings))
        });
        if template.is_none() {
            // Its keys are known all the same, though their values were not looked at.
            for key in ["advertise", "mark", "device", "dialog_to", "formerly"] {
                section.take(key);
            }
        }
        section.reserve(&[("tls", "TLS is not there yet")], findings);
        section.finish(findings);
        if let (Some(template), Some((_, host)), Some(bind)) = (template, parsed, bind) {
            self.expand(&template, &host, &bind, fib, findings);
        }
    }

    fn check_name(&self, name: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.text.is_empty() || !name.text.chars().all(legal) {
            findings
                .error(name.span.clone(), format!("«{}» is no name for a listener", name.text))
                .hint("letters, digits, - _ and . make a name");
            return None;
        }
        if self.names.of(name.text).next().is_some() {
            findings.error(name.span.clone(), format!("there are two listeners «{}»", name.text));
            return None;
        }
        Some(name.text.into())
    }

    fn expand(
        &mut self,
        template: &Template,
        host: &HostPort<'_>,
        bind: &Text<'_>,
        fib: &Fib,
        findings: &mut Findings,
    ) {
        if let Ok(ip) = host.host.parse::<IpAddr>()
            && !ip.is_unspecified()
        {
            if let Some(address) = literal(ip, host, template, bind, fib, findings) {
                self.push(template, &template.name, address, findings);
            }
            return;
        }
        let addresses = expansion(host.host, bind, fib, findings);
        for address in addresses {
            let name = format!("{}/{address}", template.name);
            self.push(template, &name, SocketAddr::new(address, template.port), findings);
            if let Some(listener) = self.listeners.last() {
                self.names.0.push((template.name.clone(), listener.id));
            }
        }
    }

    fn push(&mut self, template: &Template, name: &str, bind: SocketAddr, findings: &mut Findings) {
        let same =
            |l: &&Listener| (l.transport, l.bind, &l.device) == (template.transport, bind, &template.device);
        if let Some(other) = self.listeners.iter().find(same) {
            findings
                .error(
                    template.place.clone(),
                    format!("«{name}» and «{}» are on the same socket {bind}", other.name),
                )
                .hint("give one of them another port, address or device");
            return;
        }
        let hash = |name: &str| identity(name, template.transport, bind);
        let own = hash(name);
        let formerly: Vec<u32> = template.formerly.iter().map(|name| hash(name)).collect();
        let known = |id: &u32| self.listeners.iter().find(|l| l.identity == *id || l.formerly.contains(id));
        if let Some(other) = std::iter::once(&own).chain(&formerly).find_map(known) {
            findings
                .error(
                    template.place.clone(),
                    format!("«{name}» and «{}» have the same identity in tokens", other.name),
                )
                .hint("rename one of them (and keep the old name in `formerly` if calls are running)");
            return;
        }
        if self.listeners.len() >= LISTENERS {
            findings.error(template.place.clone(), format!("more than {LISTENERS} listeners"));
            return;
        }
        let id = ListenerId(self.listeners.len() as u16);
        let mut advertise = template.advertise.clone();
        if advertise.last().is_none_or(|last| last.to.is_some()) {
            advertise.push(Advertise::new(None, &bind.ip().to_string(), bind.port()));
        }
        self.names.0.push((name.into(), id));
        self.places.push(template.place.clone());
        self.listeners.push(Listener {
            id,
            name: name.into(),
            identity: own,
            formerly,
            transport: template.transport,
            bind,
            device: template.device.clone(),
            mark: template.mark,
            advertise,
            dialog_to: template.dialog_to.clone(),
        });
    }
}

/// `transport:host[:port]`
fn parse_bind<'t>(bind: &Text<'t>, findings: &mut Findings) -> Option<(Transport, HostPort<'t>)> {
    let Some((transport, rest)) = bind.text.split_once(':') else {
        findings.error(bind.span.clone(), format!("«{}» is no bind", bind.text)).hint(
            "write transport, address and port: udp:203.0.113.10:5060, udp:[2001:db8::1]:5060, udp:eth0:5060",
        );
        return None;
    };
    match Transport::from_token(transport.as_bytes()) {
        Some(Transport::Udp) => Some((Transport::Udp, host_port(rest, bind, findings)?)),
        Some(other) => {
            findings
                .error(bind.span.clone(), format!("the transport {other} is not available in this version"))
                .hint("this version forwards over UDP: write udp:…");
            None
        }
        None => {
            findings
                .error(bind.span.clone(), format!("«{transport}» is not a transport"))
                .hint("a bind begins with udp, tcp, tls, ws or wss: udp:203.0.113.10:5060");
            None
        }
    }
}

fn read(
    section: &mut Section<'_>,
    name: Box<str>,
    transport: Transport,
    port: u16,
    place: Range<usize>,
    findings: &mut Findings,
) -> Template {
    let advertise = section.take("advertise").map(|e| read_advertise(&e, port, findings)).unwrap_or_default();
    let mark = section.take("mark").and_then(|e| e.number(1..i64::from(u32::MAX) + 1, findings));
    let device = section.take("device").and_then(|e| e.text(findings));
    let dialog_to = section.take("dialog_to").map(|e| e.texts(findings)).unwrap_or_default();
    let formerly = section.take("formerly").map(|e| e.texts(findings)).unwrap_or_default();
    Template {
        name,
        transport,
        port,
        device: device.and_then(|text| interface_name(&text, findings)),
        mark: mark.and_then(|mark| mark.try_into().ok()),
        advertise,
        dialog_to: dialog_to.iter().filter_map(|text| network(text, findings)).collect(),
        formerly: formerly.iter().map(|text| text.text.into()).collect(),
        place,
    }
}

fn interface_name(text: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
    // IFNAMSIZ is 16 with the closing NUL.
    if (1..16).contains(&text.text.len()) && !text.text.contains(['/', ' ']) {
        return Some(text.text.into());
    }
    findings.error(text.span.clone(), format!("«{}» is not an interface name", text.text));
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
        let text = section.need("as", findings).and_then(|e| e.text(findings));
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
    let parts = host_port(text.text, text, findings)?;
    let port = parts.port.unwrap_or(port);
    match parts.host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            findings
                .error(text.span.clone(), format!("{ip} cannot be advertised: nobody can send to it"))
                .hint("write the address under which neighbours reach this listener");
            None
        }
        Ok(ip) => Some(Advertise::new(to, &ip.to_string(), port)),
        Err(_) => {
            let host = Text { text: parts.host, span: text.span.clone() };
            host_name(&host, findings).map(|name| Advertise::new(to, &name, port))
        }
    }
}

/// A literal address; a link-local one needs its link.
fn literal(
    ip: IpAddr,
    host: &HostPort<'_>,
    template: &Template,
    bind: &Text<'_>,
    fib: &Fib,
    findings: &mut Findings,
) -> Option<SocketAddr> {
    if ip.is_multicast() {
        findings.error(bind.span.clone(), format!("{ip} is a multicast address"));
        return None;
    }
    let IpAddr::V6(v6) = ip else { return Some(SocketAddr::new(ip, template.port)) };
    if let Some(v4) = v6.to_ipv4_mapped() {
        findings
            .error(bind.span.clone(), format!("{v6} is an IPv4 address in IPv6 clothes"))
            .hint(format!("write udp:{v4}:{}", template.port));
        return None;
    }
    if !v6.is_unicast_link_local() {
        return Some(SocketAddr::new(ip, template.port));
    }
    let Some(link) = host.scope.or(template.device.as_deref()) else {
        findings
            .error(bind.span.clone(), format!("the link-local address {v6} needs its interface"))
            .hint(format!("write udp:[{v6}%eth0]:{}", template.port));
        return None;
    };
    let Some(index) = fib.link_index(link) else {
        findings.error(bind.span.clone(), format!("there is no interface «{link}»")).hint(interfaces(fib));
        return None;
    };
    Some(SocketAddrV6::new(v6, template.port, 0, index).into())
}

/// The addresses that an interface name or a wildcard stands for. IPv6 link-local ones are left out:
/// they serve one link only and are named by hand.
fn expansion(host: &str, bind: &Text<'_>, fib: &Fib, findings: &mut Findings) -> Vec<IpAddr> {
    let usable = |ip: &IpAddr| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if let Ok(wildcard) = host.parse::<IpAddr>() {
        let of_family = |ip: &IpAddr| ip.is_ipv4() == wildcard.is_ipv4() && usable(ip);
        let all: Vec<IpAddr> = fib.addresses().map(|(ip, _)| ip).filter(of_family).collect();
        let beyond: Vec<IpAddr> = all.iter().copied().filter(|ip| !ip.is_loopback()).collect();
        return if beyond.is_empty() { all } else { beyond };
    }
    let Some(index) = fib.link_index(host) else {
        findings
            .error(bind.span.clone(), format!("«{host}» is neither an address nor an interface of this host"))
            .hint(interfaces(fib));
        return Vec::new();
    };
    let all: Vec<IpAddr> =
        fib.addresses().filter(|&(ip, dev)| dev == index && usable(&ip)).map(|(ip, _)| ip).collect();
    if all.is_empty() {
        findings.warn(bind.span.clone(), format!("the interface {host} has no address now"));
    }
    all
}

fn interfaces(fib: &Fib) -> String {
    let names: Vec<&str> = fib.links().map(|link| &*link.name).collect();
    format!("interfaces are: {}", names.join(", "))
}

/// FNV-1a over name, transport and address: stable over versions, because tokens carry it.
fn identity(name: &str, transport: Transport, bind: SocketAddr) -> u32 {
    let address = SocketAddr::new(bind.ip(), bind.port());
    let text = format!("{name}|{transport}|{address}");
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

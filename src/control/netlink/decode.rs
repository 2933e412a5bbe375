//! Kernel messages → [`crate::fib::spec`]. `None`: the message is not shaped as it has to be.
//!
//! An attribute that is not understood does not make a message unreadable: it makes the object opaque,
//! and a lookup that reaches it says so.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::wire::{self, AF_INET, AF_INET6, Message, u8_at, u16_at, u32_at, u32_be_at, u64_be_at};
use crate::fib::spec::{
    Action, Address, Family, Kind, Label, Link, LinkConf, Masked, Nexthop, NexthopBody, NexthopObject,
    Nexthops, Ports, Route, Rule,
};

fn family(number: u8) -> Option<Family> {
    match number {
        AF_INET => Some(Family::V4),
        AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

/// `struct ifinfomsg`
pub fn link(message: &Message<'_>) -> Option<Link> {
    const IFNAME: u16 = 3;
    const MASTER: u16 = 10;
    const LINKINFO: u16 = 18;
    const AF_SPEC: u16 = 26;
    const GROUP: u16 = 27;
    let (index, flags) = (u32_at(message.payload, 4)?, u32_at(message.payload, 8)?);
    let has = |flag: i32| flags & flag.cast_unsigned() != 0;
    let mut link = Link {
        up: has(libc::IFF_UP),
        carrier: has(libc::IFF_LOWER_UP),
        loopback: has(libc::IFF_LOOPBACK),
        ..Link::up(index, "")
    };
    for attribute in wire::attributes(message.payload.get(16..)?) {
        let (kind, value) = attribute.ok()?;
        match kind {
            IFNAME => link.name = wire::name(value)?,
            MASTER => link.master = u32_at(value, 0)?,
            GROUP => link.group = u32_at(value, 0)?,
            LINKINFO => (link.vrf_table, link.dummy) = link_info(value)?,
            AF_SPEC => link.conf = link_conf(value)?,
            _ => {}
        }
    }
    Some(link)
}

/// `IFLA_LINKINFO`: the table of a VRF, and whether it is a dummy. `None` is malformed, the inner one says that it is no VRF.
fn link_info(info: &[u8]) -> Option<(Option<u32>, bool)> {
    const KIND: u16 = 1;
    const DATA: u16 = 2;
    const TABLE: u16 = 1;
    let (mut is_vrf, mut is_dummy, mut table) = (false, false, None);
    for attribute in wire::attributes(info) {
        match attribute.ok()? {
            (KIND, value) => {
                let kind = wire::name(value)?;
                (is_vrf, is_dummy) = (&*kind == "vrf", &*kind == "dummy");
            }
            (DATA, value) if is_vrf => {
                let found = wire::attributes(value).filter_map(Result::ok).find(|(kind, _)| *kind == TABLE);
                table = found.and_then(|(_, value)| u32_at(value, 0));
            }
            _ => {}
        }
    }
    Some((table, is_dummy))
}

/// `IFLA_AF_SPEC`: arrays of sysctls, numbered as in linux/ip.h (from 1) and linux/ipv6.h (from 0).
fn link_conf(spec: &[u8]) -> Option<LinkConf> {
    const INET_CONF: u16 = 1;
    const INET6_CONF: u16 = 2;
    let mut conf = LinkConf { without_ipv6: true, ..LinkConf::default() };
    for attribute in wire::attributes(spec) {
        let (family, nested) = attribute.ok()?;
        conf.without_ipv6 &= family != u16::from(AF_INET6);
        for attribute in wire::attributes(nested) {
            let (kind, values) = attribute.ok()?;
            let value = |place: usize| u32_at(values, place * 4).unwrap_or(0).cast_signed();
            match (u8::try_from(family).ok()?, kind) {
                (AF_INET, INET_CONF) => {
                    conf.route_localnet = value(26 - 1) != 0;
                    conf.ignore_linkdown_v4 = value(29 - 1) != 0;
                }
                (AF_INET6, INET6_CONF) => {
                    conf.prefer_temporary = value(10) >= 2;
                    conf.disable_ipv6 = value(26) != 0;
                    conf.use_optimistic = value(34) != 0;
                    conf.use_oif_addrs_only = value(37) != 0;
                    conf.ignore_linkdown_v6 = value(39) != 0;
                }
                _ => {}
            }
        }
    }
    Some(conf)
}

/// `struct ifaddrmsg`; the inner `None`: another family's.
pub fn address(message: &Message<'_>) -> Option<Option<Address>> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    const FLAGS: u16 = 8;
    let header = message.payload;
    let Some(family) = family(u8_at(header, 0)?) else { return Some(None) };
    let (prefix_len, scope) = (u8_at(header, 1)?, u8_at(header, 3)?);
    let (mut flags, dev) = (u32::from(u8_at(header, 2)?), u32_at(header, 4)?);
    let (mut local, mut reached) = (None, None);
    for attribute in wire::attributes(header.get(8..)?) {
        match attribute.ok()? {
            (ADDRESS, value) => reached = Some(wire::address(value)?),
            (LOCAL, value) => local = Some(wire::address(value)?),
            (FLAGS, value) => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    let own = local.or(reached)?;
    let has = |flag: u32| flags & flag != 0;
    let v6 = family == Family::V6;
    Some(Some(Address {
        dev,
        address: own,
        network: IpNet::new(reached.unwrap_or(own), prefix_len).ok()?.trunc(),
        scope,
        secondary: !v6 && has(libc::IFA_F_SECONDARY),
        tentative: v6 && has(libc::IFA_F_TENTATIVE),
        duplicate: v6 && has(libc::IFA_F_DADFAILED),
        optimistic: v6 && has(libc::IFA_F_OPTIMISTIC),
        deprecated: v6 && has(libc::IFA_F_DEPRECATED),
        temporary: v6 && has(libc::IFA_F_TEMPORARY),
        alone: has(libc::IFA_F_NOPREFIXROUTE),
    }))
}

/// `struct ifaddrlblmsg`
pub fn label(message: &Message<'_>) -> Option<Label> {
    const ADDRESS: u16 = 1;
    const LABEL: u16 = 2;
    let (prefix_len, dev) = (u8_at(message.payload, 2)?, u32_at(message.payload, 4)?);
    let (mut address, mut label) = (None, None);
    for attribute in wire::attributes(message.payload.get(12..)?) {
        match attribute.ok()? {
            (ADDRESS, value) => address = wire::address(value),
            (LABEL, value) => label = u32_at(value, 0),
            _ => {}
        }
    }
    let IpAddr::V6(address) = address? else { return None };
    Some(Label { prefix: Ipv6Net::new(address, prefix_len).ok()?.trunc(), dev, label: label? })
}

/// `struct fib_rule_hdr`; the inner `None`: another family's.
pub fn rule(message: &Message<'_>) -> Option<Option<Rule>> {
    const INVERT: u32 = 0x2;
    const FIND_SADDR: u32 = 0x1_0000;
    let header = message.payload;
    let number = u8_at(header, 0)?;
    let Some(family) = family(number) else { return Some(None) };
    let (dst_len, src_len, tos) = (u8_at(header, 1)?, u8_at(header, 2)?, u8_at(header, 3)?);
    let flags = u32_at(header, 8)?;
    let mut raw = RawRule { table: u32::from(u8_at(header, 4)?), ..RawRule::default() };
    let mut rule = Rule {
        not: flags & INVERT != 0,
        find_source: flags & FIND_SADDR != 0,
        dscp: (tos != 0).then_some(Masked { value: tos.into(), mask: u32::MAX }),
        ..Rule::new(family, 0, Action::Nop)
    };
    for attribute in wire::attributes(header.get(12..)?) {
        let (kind, value) = attribute.ok()?;
        match kind {
            FRA_DST => rule.to = Some(wire::prefix(number, Some(value), dst_len)?),
            FRA_SRC => rule.from = Some(wire::prefix(number, Some(value), src_len)?),
            _ => rule_attribute(&mut rule, &mut raw, kind, value)?,
        }
    }
    match raw.action(u8_at(header, 7)?) {
        Some(action) => rule.action = action,
        None => rule.opaque = true,
    }
    raw.complete(&mut rule);
    Some(Some(rule))
}

const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_FLOW: u16 = 11;
const FRA_TUN_ID: u16 = 12;
const FRA_SUPPRESS_IFGROUP: u16 = 13;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_PAD: u16 = 18;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_PROTOCOL: u16 = 21;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
const FRA_DSCP: u16 = 25;
const FRA_FLOWLABEL: u16 = 26;
const FRA_FLOWLABEL_MASK: u16 = 27;
const FRA_SPORT_MASK: u16 = 28;
const FRA_DPORT_MASK: u16 = 29;
const FRA_DSCP_MASK: u16 = 30;

/// Attributes of a rule that mean something together only.
#[derive(Default)]
struct RawRule {
    table: u32,
    goto: Option<u32>,
    mark: Option<u32>,
    mark_mask: Option<u32>,
    dscp: Option<u32>,
    dscp_mask: Option<u32>,
    flow_label: Option<u32>,
    flow_label_mask: Option<u32>,
    sport_mask: u16,
    dport_mask: u16,
}

impl RawRule {
    /// `FR_ACT_*`
    fn action(&self, number: u8) -> Option<Action> {
        Some(match number {
            1 => Action::Table(self.table),
            2 => Action::Goto(self.goto?),
            3 => Action::Nop,
            6 => Action::Blackhole,
            7 => Action::Unreachable,
            8 => Action::Prohibit,
            _ => return None,
        })
    }

    fn complete(self, rule: &mut Rule) {
        if self.mark.is_some() || self.mark_mask.is_some() {
            let mask = self.mark_mask.unwrap_or(u32::MAX);
            rule.mark = Some(Masked { value: self.mark.unwrap_or(0), mask });
        }
        if let Some(value) = self.dscp {
            rule.dscp = Some(Masked { value, mask: self.dscp_mask.unwrap_or(u32::MAX) });
        }
        if let Some(value) = self.flow_label {
            rule.flow_label = Some(Masked { value, mask: self.flow_label_mask.unwrap_or(u32::MAX) });
        }
        rule.sport = rule.sport.map(|ports| Ports { mask: self.sport_mask, ..ports });
        rule.dport = rule.dport.map(|ports| Ports { mask: self.dport_mask, ..ports });
    }
}

/// One `FRA_*` attribute.
fn rule_attribute(rule: &mut Rule, raw: &mut RawRule, kind: u16, value: &[u8]) -> Option<()> {
    match kind {
        FRA_IIFNAME => rule.iif = Some(wire::name(value)?),
        FRA_GOTO => raw.goto = Some(u32_at(value, 0)?),
        FRA_PRIORITY => rule.priority = u32_at(value, 0)?,
        FRA_FWMARK => raw.mark = Some(u32_at(value, 0)?),
        FRA_TUN_ID => rule.tun_id = u64_be_at(value, 0)?,
        FRA_SUPPRESS_IFGROUP => {
            rule.suppress_group = Some(u32_at(value, 0)?).filter(|group| *group != u32::MAX)
        }
        FRA_SUPPRESS_PREFIXLEN => {
            rule.suppress_prefix_len = u8::try_from(u32_at(value, 0)?.cast_signed()).ok()
        }
        FRA_TABLE => raw.table = u32_at(value, 0)?,
        FRA_FWMASK => raw.mark_mask = Some(u32_at(value, 0)?),
        FRA_OIFNAME => rule.oif = Some(wire::name(value)?),
        FRA_L3MDEV => rule.l3mdev = u8_at(value, 0)? != 0,
        FRA_UID_RANGE => rule.uids = Some(u32_at(value, 0)?..=u32_at(value, 4)?),
        FRA_IP_PROTO => rule.protocol = u8_at(value, 0)?,
        FRA_SPORT_RANGE => rule.sport = Some(ports(value)?),
        FRA_DPORT_RANGE => rule.dport = Some(ports(value)?),
        FRA_DSCP => raw.dscp = Some(u8_at(value, 0)?.into()),
        FRA_FLOWLABEL => raw.flow_label = Some(u32_be_at(value, 0)?),
        FRA_FLOWLABEL_MASK => raw.flow_label_mask = Some(u32_be_at(value, 0)?),
        FRA_SPORT_MASK => raw.sport_mask = u16_at(value, 0)?,
        FRA_DPORT_MASK => raw.dport_mask = u16_at(value, 0)?,
        FRA_DSCP_MASK => raw.dscp_mask = Some(u8_at(value, 0)?.into()),
        // Realms, padding and who made the rule do not bear on the route.
        FRA_FLOW | FRA_PAD | FRA_PROTOCOL => {}
        _ => rule.opaque = true,
    }
    Some(())
}

fn ports(value: &[u8]) -> Option<Ports> {
    Some(Ports { first: u16_at(value, 0)?, last: u16_at(value, 2)?, mask: 0 })
}

const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_FLOW: u16 = 11;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_PREF: u16 = 20;
const RTA_EXPIRES: u16 = 23;
const RTA_PAD: u16 = 24;
const RTA_UID: u16 = 25;
const RTA_TTL_PROPAGATE: u16 = 26;
const RTA_NH_ID: u16 = 30;

/// `struct rtmsg` of a dump, or of the answer to one question.
pub struct RouteMessage {
    pub route: Route,
    /// `RTA_CACHEINFO`: the errno that the route answers with, 0 for none.
    pub error: u32,
}

/// `struct rtmsg`; the inner `None`: another family's, or a cached route.
pub fn route(message: &Message<'_>) -> Option<Option<RouteMessage>> {
    const RTM_F_CLONED: u32 = 0x200;
    let header = message.payload;
    let number = u8_at(header, 0)?;
    let (dst_len, src_len) = (u8_at(header, 1)?, u8_at(header, 2)?);
    let flags = u32_at(header, 8)?;
    if family(number).is_none() {
        return Some(None);
    }
    let dumped = message.flags & libc::NLM_F_MULTI as u16 != 0;
    if dumped && flags & RTM_F_CLONED != 0 {
        return Some(None);
    }
    let mut route = Route {
        table: u32::from(u8_at(header, 4)?),
        scope: u8_at(header, 6)?,
        tos: u8_at(header, 3)?,
        metric: 0,
        nexthops: Nexthops::Own(Vec::new()),
        ..Route::new(wire::prefix(number, None, dst_len)?, 0, None)
    };
    match route_kind(u8_at(header, 7)?) {
        Some(kind) => route.kind = kind,
        None => route.opaque = true,
    }
    let mut single = Nexthop { dev: 0, ..flagged(flags) };
    let (mut paths, mut object, mut error) = (Vec::new(), None, 0);
    for attribute in wire::attributes(header.get(12..)?) {
        let (kind, value) = attribute.ok()?;
        match kind {
            RTA_DST => route.prefix = wire::prefix(number, Some(value), dst_len)?,
            RTA_SRC => match wire::prefix(number, Some(value), src_len)? {
                IpNet::V6(from) => route.from = Some(from),
                IpNet::V4(_) => {}
            },
            RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            RTA_PREFSRC => route.preferred_source = Some(wire::address(value)?),
            RTA_MULTIPATH => route.opaque |= !multipath(value, &mut paths)?,
            RTA_TABLE => route.table = u32_at(value, 0)?,
            RTA_PREF => route.preference = preference(u8_at(value, 0)?),
            RTA_NH_ID => object = Some(u32_at(value, 0)?),
            RTA_CACHEINFO => {
                route.lifetime = lifetime(number, u32_at(value, 8)?);
                error = u32_at(value, 12)?;
            }
            RTA_METRICS | RTA_FLOW | RTA_EXPIRES | RTA_PAD | RTA_UID | RTA_TTL_PROPAGATE => {}
            _ => route.opaque |= !nexthop_attribute(&mut single, kind, value)?,
        }
    }
    if paths.is_empty() && single.dev != 0 {
        paths.push(single);
    }
    route.nexthops = object.map_or(Nexthops::Own(paths), Nexthops::Object);
    route.opaque |= route.hides_lifetimes();
    Some(Some(RouteMessage { route, error }))
}

/// `rta_expires`, in hundredths of a second on every architecture that Viaduct runs on; 0 for none. Routes of IPv4 have none.
fn lifetime(family: u8, expires: u32) -> Option<i32> {
    (family == AF_INET6 && expires != 0).then_some(expires.cast_signed())
}

/// RFC 4191 §2.1, two bits: 0 medium, 1 high, 3 low; here 0 low, 1 medium, 2 high.
fn preference(bits: u8) -> u8 {
    match bits {
        1 => 2,
        3 => 0,
        _ => 1,
    }
}

fn route_kind(number: u8) -> Option<Kind> {
    Some(match number {
        libc::RTN_UNICAST => Kind::Unicast,
        libc::RTN_LOCAL => Kind::Local,
        libc::RTN_BROADCAST => Kind::Broadcast,
        libc::RTN_ANYCAST => Kind::Anycast,
        libc::RTN_MULTICAST => Kind::Multicast,
        libc::RTN_BLACKHOLE => Kind::Blackhole,
        libc::RTN_UNREACHABLE => Kind::Unreachable,
        libc::RTN_PROHIBIT => Kind::Prohibit,
        libc::RTN_THROW => Kind::Throw,
        _ => return None,
    })
}

fn flagged(flags: u32) -> Nexthop {
    const RTNH_F_DEAD: u32 = 1;
    Nexthop { dead: flags & RTNH_F_DEAD != 0, ..Nexthop::new(0, None) }
}

/// One attribute of a path; `Some(false)`: not understood (an encapsulation, for one).
fn nexthop_attribute(nexthop: &mut Nexthop, kind: u16, value: &[u8]) -> Option<bool> {
    match kind {
        RTA_OIF => nexthop.dev = u32_at(value, 0)?,
        RTA_GATEWAY => nexthop.gateway = Some(wire::address(value)?),
        // `struct rtvia`: a family and an address of that family.
        RTA_VIA => nexthop.gateway = Some(wire::address(value.get(2..)?)?),
        RTA_FLOW => {}
        _ => return Some(false),
    }
    Some(true)
}

/// `RTA_MULTIPATH`: a list of `struct rtnexthop`, each with attributes of its own.
fn multipath(mut rest: &[u8], paths: &mut Vec<Nexthop>) -> Option<bool> {
    let mut understood = true;
    while !rest.is_empty() {
        let len = usize::from(u16_at(rest, 0)?);
        let weight = u32::from(u8_at(rest, 3)?) + 1;
        let mut path = Nexthop { dev: u32_at(rest, 4)?, weight, ..flagged(u8_at(rest, 2)?.into()) };
        for attribute in wire::attributes(rest.get(8..len)?) {
            let (kind, value) = attribute.ok()?;
            understood &= nexthop_attribute(&mut path, kind, value)?;
        }
        paths.push(path);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(understood)
}

/// `struct nhmsg`
pub fn nexthop(message: &Message<'_>) -> Option<NexthopObject> {
    const ID: u16 = 1;
    const GROUP: u16 = 2;
    const GROUP_TYPE: u16 = 3;
    const BLACKHOLE: u16 = 4;
    const OIF: u16 = 5;
    const GATEWAY: u16 = 6;
    const MASTER: u16 = 10;
    const RES_GROUP: u16 = 12;
    const OP_FLAGS: u16 = 14;
    const GROUP_STATS: u16 = 15;
    const HW_STATS_ENABLE: u16 = 16;
    const HW_STATS_USED: u16 = 17;
    let header = message.payload;
    let family = family(u8_at(header, 0)?);
    let mut path = flagged(u32_at(header, 4)?);
    let (mut id, mut group, mut blackhole, mut opaque) = (None, None, false, false);
    for attribute in wire::attributes(header.get(8..)?) {
        let (kind, value) = attribute.ok()?;
        match kind {
            ID => id = Some(u32_at(value, 0)?),
            GROUP => group = Some(members(value)?),
            BLACKHOLE => blackhole = true,
            OIF => path.dev = u32_at(value, 0)?,
            GATEWAY => path.gateway = Some(wire::address(value)?),
            GROUP_TYPE | MASTER | RES_GROUP | OP_FLAGS | GROUP_STATS | HW_STATS_ENABLE | HW_STATS_USED => {}
            _ => opaque = true,
        }
    }
    let body = match (opaque, group, family) {
        (true, ..) => NexthopBody::Opaque,
        (_, Some(members), _) => NexthopBody::Group(members),
        _ if blackhole => NexthopBody::Blackhole,
        (_, None, Some(family)) => NexthopBody::Single(family, path),
        (_, None, None) => NexthopBody::Opaque,
    };
    Some(NexthopObject { id: id?, body })
}

/// `struct nexthop_grp`: id, weight - 1 in two bytes of which the high one came with Linux 6.12.
fn members(value: &[u8]) -> Option<Vec<(u32, u32)>> {
    let member = |bytes: &[u8]| {
        let weight = u16::from_le_bytes([u8_at(bytes, 4)?, u8_at(bytes, 5)?]);
        Some((u32_at(bytes, 0)?, u32::from(weight) + 1))
    };
    value.chunks(8).map(member).collect()
}

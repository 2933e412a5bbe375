//! Answers and steps in words: for messages, the log, `explain` and `routes get`.

use std::fmt;

use super::spec::{Action, Kind, Masked, Ports, Rule, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use super::{Fib, NoRoute, Route, RouteKind, SourceOrigin, Step};

/// Something that is written when it is displayed; allocates nothing.
pub struct Words<F>(pub F);

impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for Words<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

impl RouteKind {
    /// As `ip route` calls it; JSON's `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::Anycast => "anycast",
        }
    }
}

impl Kind {
    /// As `ip route` calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Anycast => "anycast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
        }
    }
}

impl NoRoute {
    /// JSON's `kind`: as `ip route` calls the type of route, or what is missing.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable | Self::UnreachableRoute => "unreachable",
            Self::Blackhole => "blackhole",
            Self::Prohibit => "prohibit",
            Self::SourceNotLocal => "source_not_local",
            Self::NoSource => "no_source",
            Self::NeedsDevice => "needs_device",
        }
    }

    /// One clause, without a full stop.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Unreachable => "there is no route",
            Self::Blackhole => "a blackhole route or rule holds it",
            Self::UnreachableRoute => "an unreachable route or rule holds it",
            Self::Prohibit => "a prohibit route or rule holds it",
            Self::NoSource => "this host has no address to send from",
            Self::NeedsDevice => "the address has a meaning on one link only, and none is given",
            Self::SourceNotLocal => "the source is no address of this host",
        }
    }
}

impl Route {
    /// `by eth0 (10.0.0.0/24, table main)`, with the gateway where there is one; allocates nothing.
    pub fn in_words<'a>(&'a self, fib: &'a Fib) -> impl fmt::Display + 'a {
        Words(move |f: &mut fmt::Formatter<'_>| {
            write!(f, "by {}", fib.link_name(self.dev).unwrap_or("an interface that is gone"))?;
            if let Some(gateway) = self.gateway {
                write!(f, " via {gateway}")?;
            }
            write!(f, " ({}, table {})", self.prefix, table_in_words(self.table))
        })
    }
}

/// A table as `ip route` names it.
pub fn table_in_words(table: u32) -> impl fmt::Display {
    Words(move |f: &mut fmt::Formatter<'_>| match table {
        TABLE_LOCAL => f.write_str("local"),
        TABLE_MAIN => f.write_str("main"),
        TABLE_DEFAULT => f.write_str("default"),
        number => write!(f, "{number}"),
    })
}

impl Step {
    /// One clause, without a full stop.
    pub fn in_words(self) -> impl fmt::Display {
        Words(move |f: &mut fmt::Formatter<'_>| match self {
            Self::Rule { priority, action } => write!(f, "rule {priority}: {}", action_in_words(action)),
            Self::OpaqueRule { priority } => {
                write!(f, "rule {priority}: has a selector that this version does not know")
            }
            Self::Route { table, prefix, kind } => {
                write!(f, "table {}: {} {prefix}", table_in_words(table), kind.as_str())
            }
            Self::OpaqueRoute { table, prefix } => {
                let table = table_in_words(table);
                write!(f, "table {table}: {prefix} has something that this version does not know")
            }
            Self::NoUsablePath { table, prefix } => {
                let table = table_in_words(table);
                write!(f, "table {table}: {prefix} has no usable path (down, or by another device)")
            }
            Self::TableExhausted { table } => {
                write!(f, "table {}: no route that fits", table_in_words(table))
            }
            Self::Suppressed { priority, prefix } => {
                write!(f, "rule {priority}: does not accept {prefix} (suppress)")
            }
            Self::AskedAgain { source } => {
                write!(f, "no route with the source open: asked again from {source}, as a socket does")
            }
            Self::AskedKernel => f.write_str("the kernel itself was asked"),
            Self::Source { source, origin } => write!(f, "source {source}: {}", origin.in_words()),
        })
    }
}

impl SourceOrigin {
    /// One clause, without a full stop.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Bound => "the one that was asked for",
            Self::Preferred => "preferred by the route",
            Self::Selected => "selected among the addresses of the host",
            Self::Destination => "the destination is this host",
        }
    }
}

fn action_in_words(action: Action) -> impl fmt::Display {
    Words(move |f: &mut fmt::Formatter<'_>| match action {
        // Written so by a rule for VRFs.
        Action::Table(0) => f.write_str("look into the table of the VRF"),
        Action::Table(table) => write!(f, "look into table {}", table_in_words(table)),
        Action::Goto(target) => write!(f, "go to rule {target}"),
        Action::Nop => f.write_str("nothing"),
        Action::Blackhole => f.write_str("blackhole"),
        Action::Unreachable => f.write_str("unreachable"),
        Action::Prohibit => f.write_str("prohibit"),
    })
}

/// Much as `ip rule` writes it: `100: from 10.0.0.0/8 fwmark 0x7/0xffffffff look into table main`.
pub(super) fn rule_in_words(rule: &Rule) -> impl fmt::Display {
    Words(move |f: &mut fmt::Formatter<'_>| {
        write!(f, "{}:", rule.priority)?;
        if rule.not {
            f.write_str(" not")?;
        }
        match rule.from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from all")?,
        }
        if let Some(to) = rule.to {
            write!(f, " to {to}")?;
        }
        for (word, name) in [("iif", &rule.iif), ("oif", &rule.oif)] {
            if let Some(name) = name {
                write!(f, " {word} {name}")?;
            }
        }
        masked(f, "fwmark", rule.mark)?;
        masked(f, "dscp", rule.dscp)?;
        masked(f, "flowlabel", rule.flow_label)?;
        if let Some(uids) = &rule.uids {
            write!(f, " uidrange {}-{}", uids.start(), uids.end())?;
        }
        if rule.protocol != 0 {
            write!(f, " ipproto {}", rule.protocol)?;
        }
        ports(f, "sport", rule.sport)?;
        ports(f, "dport", rule.dport)?;
        if rule.tun_id != 0 {
            write!(f, " tun_id {}", rule.tun_id)?;
        }
        if rule.l3mdev {
            f.write_str(" l3mdev")?;
        }
        if let Some(len) = rule.suppress_prefix_len {
            write!(f, " suppress_prefixlength {len}")?;
        }
        if let Some(group) = rule.suppress_group {
            write!(f, " suppress_ifgroup {group}")?;
        }
        write!(f, " {}", action_in_words(rule.action))?;
        if rule.opaque { f.write_str(" (with something that this version does not know)") } else { Ok(()) }
    })
}

fn masked(f: &mut fmt::Formatter<'_>, word: &str, masked: Option<Masked>) -> fmt::Result {
    match masked {
        Some(Masked { value, mask: u32::MAX }) => write!(f, " {word} {value:#x}"),
        Some(Masked { value, mask }) => write!(f, " {word} {value:#x}/{mask:#x}"),
        None => Ok(()),
    }
}

fn ports(f: &mut fmt::Formatter<'_>, word: &str, ports: Option<Ports>) -> fmt::Result {
    match ports {
        Some(Ports { first, mask, .. }) if mask != 0 => write!(f, " {word} {first:#x}/{mask:#x}"),
        Some(Ports { first, last, .. }) => write!(f, " {word} {first}-{last}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_names_of_ip_route() {
        let names = [255, 254, 253, 100].map(|table| table_in_words(table).to_string());
        assert_eq!(names, ["local", "main", "default", "100"]);
    }

    #[test]
    fn steps_name_rule_table_and_prefix() {
        let prefix = "10.0.0.0/8".parse().unwrap();
        let words = |step: Step| step.in_words().to_string();
        assert_eq!(
            words(Step::Rule { priority: 100, action: Action::Table(7) }),
            "rule 100: look into table 7"
        );
        assert_eq!(
            words(Step::Route { table: 254, prefix, kind: Kind::Prohibit }),
            "table main: prohibit 10.0.0.0/8"
        );
        assert_eq!(
            words(Step::Suppressed { priority: 5, prefix }),
            "rule 5: does not accept 10.0.0.0/8 (suppress)"
        );
    }
}

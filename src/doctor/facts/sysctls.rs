//! Values of `/proc/sys`, by the names that `sysctl` uses.

use std::collections::HashMap;

use super::{Root, Told, Untold};

/// Those that the checks ask for.
const NAMES: &[&str] = &[
    "kernel.io_uring_disabled",
    "kernel.io_uring_group",
    "net.core.busy_poll",
    "net.core.busy_read",
    "net.core.netdev_budget",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.rps_sock_flow_entries",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.conf.all.src_valid_mark",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ipfrag_high_thresh",
    "net.ipv4.udp_l3mdev_accept",
    "net.ipv4.udp_mem",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.ip6frag_high_thresh",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_max",
];

/// Those of each interface, of which `all` has one as well; `net.ipv4.conf.DEV.…`.
const OF_INTERFACES: &[&str] = &["arp_announce", "arp_filter", "arp_ignore", "rp_filter"];

/// Their values.
pub struct Sysctls(HashMap<String, Told<String>>);

impl Sysctls {
    /// A value as it is written.
    pub fn text(&self, name: &str) -> Told<&str> {
        match self.0.get(name) {
            Some(Ok(text)) => Ok(text),
            Some(Err(untold)) => Err(untold.clone()),
            None => Err(Untold::new(format!("there is no {name}"))),
        }
    }

    /// A number.
    pub fn number(&self, name: &str) -> Told<u64> {
        let text = self.text(name)?;
        text.parse().map_err(|_| Untold::new(format!("{name} is «{text}»")))
    }

    /// What is in effect for an interface where the kernel takes the larger of `all`'s value and its own.
    pub fn of_interface(&self, link: &str, name: &str) -> Told<u64> {
        let own = self.number(&interface(link, name))?;
        Ok(own.max(self.number(&interface("all", name))?))
    }
}

/// The name of an interface's sysctl. `sysctl` wants `/` where an interface's name has a dot.
pub fn interface(link: &str, name: &str) -> String {
    format!("net.ipv4.conf.{}.{name}", link.replace('.', "/"))
}

pub(super) fn read(root: &Root) -> Sysctls {
    // `all` and `default` are among them.
    let links = root.names("proc/sys/net/ipv4/conf").unwrap_or_default();
    let named = NAMES.iter().map(|name| (name.to_string(), name.replace('.', "/")));
    let of_links = links.iter().flat_map(|link| {
        let file = move |name: &&str| (interface(link, name), format!("net/ipv4/conf/{link}/{name}"));
        OF_INTERFACES.iter().map(file)
    });
    let value = |file: String| root.read(&format!("proc/sys/{file}"));
    Sysctls(named.chain(of_links).map(|(name, file)| (name, value(file))).collect())
}

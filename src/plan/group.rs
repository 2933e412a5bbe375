//! What a `[[group]]` says.

use crate::group::{Member, Pinging, Select, Settings};
use crate::net::GroupId;
use crate::rules::{EgressChoice, Target};

/// One `[[group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its place in the configuration.
    pub id: GroupId,
    /// Unique name.
    pub name: Box<str>,
    /// What chooses a request's gateway.
    pub select: Select,
    /// Ascending by priority, then as configured; never empty.
    pub gateways: Box<[Gateway]>,
    /// The same in what choosing needs: `members[i]` is `gateways[i]`.
    pub members: Box<[Member]>,
    /// When a gateway is down, and when it is back.
    pub settings: Settings,
    /// How its gateways are asked whether they live; none: they are not.
    pub pinging: Option<Pinging>,
}

/// One of a group's gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where it is: an address or a name.
    pub to: Target,
    /// `to` as it is written.
    pub uri: Box<str>,
    /// From which listener, whatever the rule says.
    pub egress: Option<EgressChoice>,
}

impl Group {
    /// The names that its gateways are, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.gateways.iter().filter_map(|gateway| gateway.to.name())
    }

    /// Puts gateways in order and finds their identities.
    pub fn new(
        id: GroupId,
        name: Box<str>,
        select: Select,
        mut gateways: Vec<(Gateway, u16, u16)>,
        settings: Settings,
        pinging: Option<Pinging>,
    ) -> Self {
        gateways.sort_by_key(|(_, priority, _)| *priority);
        let mut members = Vec::<Member>::with_capacity(gateways.len());
        for (gateway, priority, weight) in &gateways {
            let mut identity = identity(&gateway.to);
            while members.iter().any(|other| other.identity == identity) {
                identity = identity.wrapping_add(1);
            }
            members.push(Member { identity, priority: *priority, weight: *weight });
        }
        let gateways = gateways.into_iter().map(|(gateway, ..)| gateway).collect();
        Self { id, name, select, gateways, members: members.into(), settings, pinging }
    }
}

/// FNV-1a over where a gateway is: the same in every process and version, so that all choose alike.
fn identity(to: &Target) -> u32 {
    let port = to.usual_port().unwrap_or_default();
    let text = match to {
        Target::Address { ip, .. } => format!("{ip}|{port}"),
        // As it was before names without a port were looked up by SRV.
        Target::Name { host, .. } => format!("{host}|{port}"),
        Target::RequestUri | Target::Group { .. } => String::new(),
    };
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

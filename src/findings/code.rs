//! The kinds of findings: names that scripts and alerts may rely on.

/// What sort of thing does not fit. Its label is stable: the metric's label, JSON's `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// See [`Code::describe`], for each.
    AddressAbsent,
    /// The interface that has a listener's address is down.
    InterfaceDown,
    /// There is no interface of a listener's `device`.
    DeviceAbsent,
    /// A listener's `device` is down.
    DeviceDown,
    /// A listener's sockets could not be opened.
    NoSocket,
    /// An interface or a wildcard without an address.
    NoAddress,
    /// More addresses than listeners can be.
    ListenersLeftOut,
    /// A host's address without a listener.
    AddressUnserved,
    /// A route's source without a listener.
    SourceNoListener,
    /// Nothing leads to a next hop.
    NextHopUnrouted,
    /// Nothing was found, and `no_listener` stands in.
    NextHopFallback,
    /// A next hop that is one of our own listeners.
    NextHopOurselves,
    /// A next hop whose name has no address.
    NameUnresolved,
    /// No listener of transport and family is up.
    NoListener,
    /// `auto = false` and no `egress`.
    AutomaticOff,
    /// An override that cannot reach its next hop.
    OverrideUnreachable,
    /// An override that cannot, while another listener can.
    OverrideWrongListener,
    /// An override whose listener is not up.
    OverrideDown,
    /// A relative override that names a socket that nobody has.
    OverrideNoSocket,
    /// Sends leave another way than the open lookup says.
    AsymmetricRoute,
    /// Paths of one route with different sources.
    MultipathSources,
    /// Gateways among which the kernel chooses by whether they answer.
    GatewayChoice,
    /// A device without a route, where the kernel assumes the link.
    OnLinkAssumption,
    /// A private address is shown to a public network.
    AdvertisedPrivate,
    /// A listener's address and its socket are of different VRFs.
    VrfMismatch,
    /// A listener's address is on another interface than its `device`.
    DeviceMismatch,
    /// The way leads from one VRF to another.
    VrfCrossing,
    /// Something that this version does not understand.
    AskKernel,
    /// A listener over TLS that trusts nobody is to connect.
    NoAuthorities,
}

impl Code {
    /// All of them, in the order of [`Code::index`].
    pub const ALL: [Self; 29] = [
        Self::AddressAbsent,
        Self::InterfaceDown,
        Self::DeviceAbsent,
        Self::DeviceDown,
        Self::NoSocket,
        Self::NoAddress,
        Self::ListenersLeftOut,
        Self::AddressUnserved,
        Self::SourceNoListener,
        Self::NextHopUnrouted,
        Self::NextHopFallback,
        Self::NextHopOurselves,
        Self::NameUnresolved,
        Self::NoListener,
        Self::AutomaticOff,
        Self::OverrideUnreachable,
        Self::OverrideWrongListener,
        Self::OverrideDown,
        Self::OverrideNoSocket,
        Self::AsymmetricRoute,
        Self::MultipathSources,
        Self::GatewayChoice,
        Self::OnLinkAssumption,
        Self::AdvertisedPrivate,
        Self::VrfMismatch,
        Self::DeviceMismatch,
        Self::VrfCrossing,
        Self::AskKernel,
        Self::NoAuthorities,
    ];

    /// Its place in [`Code::ALL`], for tables of numbers.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AddressAbsent => "address-absent",
            Self::InterfaceDown => "interface-down",
            Self::DeviceAbsent => "device-absent",
            Self::DeviceDown => "device-down",
            Self::NoSocket => "no-socket",
            Self::NoAddress => "no-address",
            Self::ListenersLeftOut => "listeners-left-out",
            Self::AddressUnserved => "address-unserved",
            Self::SourceNoListener => "source-no-listener",
            Self::NextHopUnrouted => "next-hop-unrouted",
            Self::NextHopFallback => "next-hop-fallback",
            Self::NextHopOurselves => "next-hop-ourselves",
            Self::NameUnresolved => "name-unresolved",
            Self::NoListener => "no-listener",
            Self::AutomaticOff => "automatic-off",
            Self::OverrideUnreachable => "override-unreachable",
            Self::OverrideWrongListener => "override-wrong-listener",
            Self::OverrideDown => "override-down",
            Self::OverrideNoSocket => "override-no-socket",
            Self::AsymmetricRoute => "asymmetric-route",
            Self::MultipathSources => "multipath-sources",
            Self::GatewayChoice => "gateway-choice",
            Self::OnLinkAssumption => "on-link-assumption",
            Self::AdvertisedPrivate => "advertised-private",
            Self::VrfMismatch => "vrf-mismatch",
            Self::DeviceMismatch => "device-mismatch",
            Self::VrfCrossing => "vrf-crossing",
            Self::AskKernel => "ask-kernel",
            Self::NoAuthorities => "no-authorities",
        }
    }

    /// One sentence for the manual.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AddressAbsent => "No interface of the host has the listener's address.",
            Self::InterfaceDown => "The interface that has the listener's address is down.",
            Self::DeviceAbsent => "There is no interface of the name in the listener's `device`.",
            Self::DeviceDown => "The listener's `device` is down.",
            Self::NoSocket => "The listener's sockets could not be opened; tried again every second.",
            Self::NoAddress => "An interface or wildcard in `bind` stands for no address now.",
            Self::ListenersLeftOut => "The host has more addresses for a wildcard than listeners can be.",
            Self::AddressUnserved => "The host has an address that no listener has.",
            Self::SourceNoListener => {
                "The kernel's route to a literal next hop, or a default route, selects a source that is no \
                 listener; says what the automatic choice does then."
            }
            Self::NextHopUnrouted => "No listener has a route to a literal next hop.",
            Self::NextHopFallback => {
                "Nothing is found for a literal next hop, and `[egress] no_listener` stands in."
            }
            Self::NextHopOurselves => {
                "A literal next hop is one of our own listeners: requests would come back."
            }
            Self::NameUnresolved => "A next hop's name leads nowhere, neither by `[hosts]` nor by DNS.",
            Self::NoListener => "No listener of the next hop's transport and address family is up.",
            Self::AutomaticOff => "A rule names no `egress`, and `[egress] auto` is off.",
            Self::OverrideUnreachable => "A rule's `egress` has no route to its literal next hop.",
            Self::OverrideWrongListener => {
                "A rule's `egress` cannot reach its literal next hop, and another listener can."
            }
            Self::OverrideDown => "A rule's `egress` is a listener that is not up.",
            Self::OverrideNoSocket => "A rule's relative `egress` is a socket that no listener has.",
            Self::AsymmetricRoute => {
                "The listener's sends leave by another interface or gateway than the route with any source."
            }
            Self::MultipathSources => "The paths of a multipath route have different sources.",
            Self::GatewayChoice => {
                "A prefix has gateways by several interfaces: the kernel passes over one that does not answer, Viaduct does not."
            }
            Self::OnLinkAssumption => {
                "A listener's `device` has no route: the kernel would assume the destination on the link, \
                 Viaduct calls it unreachable."
            }
            Self::AdvertisedPrivate => "A private address is advertised towards a public network.",
            Self::VrfMismatch => "The listener's address belongs to another VRF than its socket.",
            Self::DeviceMismatch => {
                "The listener's address is on another interface than its `device`: what comes in there for it is not received."
            }
            Self::VrfCrossing => "A literal next hop lies in another VRF than where requests come in.",
            Self::AskKernel => {
                "Something in the routing policy is not understood, so the kernel is asked for each destination."
            }
            Self::NoAuthorities => {
                "A rule's next hop over TLS is to be connected to by a listener without `ca`, which trusts nobody."
            }
        }
    }

    /// The change of a listener's state, or of what a name stands for, is logged the moment it happens, also
    /// where nobody looks for findings.
    pub const fn is_told_elsewhere(self) -> bool {
        matches!(
            self,
            Self::AddressAbsent
                | Self::InterfaceDown
                | Self::DeviceAbsent
                | Self::DeviceDown
                | Self::NoSocket
                | Self::NameUnresolved
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_at_their_index_and_have_names_of_their_own() {
        let mut labels: Vec<_> = Code::ALL.iter().map(|code| code.label()).collect();
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.index(), index, "{code:?}");
            assert!(code.label().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code:?}");
            assert!(code.describe().ends_with('.'), "{code:?}");
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Code::ALL.len());
    }
}

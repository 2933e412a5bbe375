//! From a captured frame to a SIP message over UDP, or the reason why there is none.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::Linktype;

use super::frames::Frame;
use crate::net::canonical;

/// A SIP message as it was on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The payload.
    pub bytes: &'a [u8],
}

/// Why a frame is passed over; each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// A link of a kind that is not read here.
    Link,
    /// Neither IPv4 nor IPv6, or damaged.
    NotIp,
    /// A piece of a datagram.
    Fragment,
    /// Not captured as a whole.
    Cut,
    /// SIP over TCP.
    SipOverTcp,
    /// TCP, SCTP, ICMP and the like.
    NotUdp,
    /// UDP, and no SIP.
    NotSip,
}

impl Skip {
    /// All of them, in the order of [`Skip::index`].
    pub const ALL: [Self; 7] =
        [Self::Link, Self::NotIp, Self::Fragment, Self::Cut, Self::SipOverTcp, Self::NotUdp, Self::NotSip];

    /// Its place in [`Skip::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The key in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Link => "unknown_link",
            Self::NotIp => "not_ip",
            Self::Fragment => "fragments",
            Self::Cut => "cut",
            Self::SipOverTcp => "sip_over_tcp",
            Self::NotUdp => "not_udp",
            Self::NotSip => "not_sip",
        }
    }

    /// For people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Link => "of a link that is not read (Ethernet, Linux cooked, raw IP and loopback are)",
            Self::NotIp => "neither IPv4 nor IPv6",
            Self::Fragment => "IP fragments, which are not put together",
            Self::Cut => "SIP, but not captured as a whole (tcpdump -s 0)",
            Self::SipOverTcp => "SIP over TCP, which is not read yet",
            Self::NotUdp => "of other protocols than UDP",
            Self::NotSip => "UDP that is not SIP",
        }
    }
}

/// The SIP message in a frame.
///
/// # Errors
/// Why there is none.
pub fn of<'a>(frame: &Frame<'a>) -> Result<Datagram<'a>, Skip> {
    let packet = slice(frame)?;
    let damaged = if frame.cut { Skip::Cut } else { Skip::NotIp };
    let (source, destination, fragmented): (IpAddr, IpAddr, bool) = match &packet.net {
        Some(NetSlice::Ipv4(v4)) => {
            let header = v4.header();
            (header.source_addr().into(), header.destination_addr().into(), v4.is_payload_fragmented())
        }
        Some(NetSlice::Ipv6(v6)) => {
            let header = v6.header();
            (header.source_addr().into(), header.destination_addr().into(), v6.is_payload_fragmented())
        }
        _ => return Err(damaged),
    };
    if fragmented {
        return Err(Skip::Fragment);
    }
    match &packet.transport {
        Some(TransportSlice::Udp(udp)) if is_sip(udp.payload()) => Ok(Datagram {
            from: SocketAddr::new(canonical(source), udp.source_port()),
            to: SocketAddr::new(canonical(destination), udp.destination_port()),
            bytes: udp.payload(),
        }),
        Some(TransportSlice::Udp(_)) => Err(Skip::NotSip),
        Some(TransportSlice::Tcp(tcp)) if is_sip(tcp.payload()) => Err(Skip::SipOverTcp),
        _ => Err(Skip::NotUdp),
    }
}

fn slice<'a>(frame: &Frame<'a>) -> Result<SlicedPacket<'a>, Skip> {
    /// The kind of link that BSD calls raw on some systems.
    const RAW_BSD: [Linktype; 2] = [Linktype(12), Linktype(14)];
    let bytes = frame.bytes;
    let packet = match frame.link.ok_or(Skip::Link)? {
        Linktype::ETHERNET => SlicedPacket::from_ethernet(bytes),
        Linktype::LINUX_SLL => SlicedPacket::from_linux_sll(bytes),
        // A protocol in two bytes, then eighteen bytes about the interface and the sender.
        Linktype::LINUX_SLL2 => match (bytes.first_chunk::<2>(), bytes.get(20..)) {
            (Some(protocol), Some(rest)) => {
                SlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(*protocol)), rest)
            }
            _ => return Err(Skip::NotIp),
        },
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => SlicedPacket::from_ip(bytes),
        link if RAW_BSD.contains(&link) => SlicedPacket::from_ip(bytes),
        // The address family in four bytes of either order.
        Linktype::NULL | Linktype::LOOP => SlicedPacket::from_ip(bytes.get(4..).unwrap_or_default()),
        _ => return Err(Skip::Link),
    };
    packet.map_err(|_| if frame.cut { Skip::Cut } else { Skip::NotIp })
}

/// It begins with a line that ends or begins with the protocol's name.
fn is_sip(payload: &[u8]) -> bool {
    let line = payload.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let line = line.get(..line.len().min(4_096)).unwrap_or_default();
    line.starts_with(b"SIP/2.0 ") || (line.ends_with(b" SIP/2.0") && line.len() > b" SIP/2.0".len())
}

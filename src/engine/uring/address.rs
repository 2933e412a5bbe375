//! Socket addresses between Rust's form and the kernel's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Room for a `sockaddr_in6`, the larger of the two.
pub const BYTES: usize = size_of::<libc::sockaddr_in6>();

/// A `sockaddr_in` or `sockaddr_in6`, aligned as the kernel expects it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Address(pub [u8; BYTES]);

impl Address {
    /// Writes an address; gives its length.
    pub fn set(&mut self, address: SocketAddr) -> u32 {
        let bytes = &mut self.0;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                bytes[8..16].fill(0);
                size_of::<libc::sockaddr_in>() as u32
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[4..8].fill(0);
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                BYTES as u32
            }
        }
    }

    /// What was set, canonical; nowhere, where nothing was.
    pub fn get(&self) -> SocketAddr {
        read(&self.0).unwrap_or_else(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }
}

/// Reads what the kernel wrote; IPv4-mapped addresses become IPv4. `None`: another family, or too short.
pub fn read(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
            let ip = Ipv6Addr::from(ip);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::new(v4.into(), port),
                None => SocketAddrV6::new(ip, port, 0, scope).into(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went() {
        for (text, back, len) in [
            ("192.0.2.1:5060", "192.0.2.1:5060", 16),
            ("[2001:db8::1]:5061", "[2001:db8::1]:5061", 28),
            ("[fe80::1%3]:5060", "[fe80::1%3]:5060", 28),
            ("[::ffff:192.0.2.1]:7", "192.0.2.1:7", 28),
        ] {
            let mut address = Address([0xff; BYTES]);
            assert_eq!(address.set(text.parse().unwrap()), len, "{text}");
            assert_eq!(read(&address.0), Some(back.parse().unwrap()), "{text}");
        }
        assert_eq!(read(&[0; 28]), None);
        assert_eq!(read(&[2, 0, 0]), None);
    }
}

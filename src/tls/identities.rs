//! SIP domain identities of a certificate (RFC 5922 §7.1) and how they are compared (§7.2).

use std::fmt;
use std::net::IpAddr;

use sip_parser::{Scheme, Uri};
use x509_cert::ext::pkix::name::GeneralName;

/// The SIP domains that a certificate speaks for: host names in lower case and IP literals, each without port and
/// without brackets; and its addresses, which stand for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities(Vec<Box<str>>);

impl Identities {
    /// Reads them from a certificate's subjectAltName; `None`: it has none. `common_name` is looked at in that case only.
    ///
    /// RFC 5922 §7.1: "An implementation MUST accept a domain name system identifier as a SIP domain identity if and only
    /// if no other identity is found that matches the "sip" URI type".
    ///
    /// An address is no domain, so that RFC says nothing of iPAddress; where a URI has an address for its host, there is no
    /// domain to compare either. An authority that vouches for the address does so there (RFC 5280 §4.2.1.6).
    pub(super) fn find(alternatives: Option<&[GeneralName]>, common_name: Option<&str>) -> Self {
        // "If and only if the subjectAltName does not appear in the certificate, the implementation MAY examine the CN
        // field of the certificate. If a valid DNS name is found there, the implementation MAY accept this value".
        let Some(alternatives) = alternatives else {
            return Self(common_name.into_iter().filter(|name| is_dns_name(name)).map(normal).collect());
        };
        let addresses = alternatives.iter().filter_map(of_address);
        let uris: Vec<Box<str>> = alternatives.iter().filter_map(of_uri).collect();
        if !uris.is_empty() {
            return Self(uris.into_iter().chain(addresses).collect());
        }
        let dns = alternatives.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(normal(name.as_str())),
            _ => None,
        });
        Self(dns.chain(addresses).collect())
    }

    /// This domain is one of them. RFC 5922 §7.2: "Implementations MUST match the values in their entirety",
    /// "Implementations MUST NOT match suffixes", "Implementations MUST NOT match any form of wildcard".
    pub fn hold(&self, domain: &str) -> bool {
        let domain = normal(domain);
        self.0.contains(&domain)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// There is none: nobody is authenticated by such a certificate (RFC 5922 §7.3).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The names with commas between them.
impl fmt::Display for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// The host of a `sip:` URI without a user. RFC 5922 §7.1: "If the scheme of the URI is not "sip", then the implementation
/// MUST NOT accept the value as a SIP domain identity"; likewise "the URI value that contains a userpart".
fn of_uri(name: &GeneralName) -> Option<Box<str>> {
    let GeneralName::UniformResourceIdentifier(text) = name else { return None };
    let text = text.as_str();
    let uri = Uri::parse(text.as_bytes()).ok().filter(|uri| uri.scheme == Scheme::Sip)?;
    let host = str::from_utf8(uri.host_text()).ok()?;
    (!text.contains('@')).then(|| normal(host.trim_matches(['[', ']'])))
}

/// An iPAddress: four octets or sixteen (RFC 5280 §4.2.1.6).
fn of_address(name: &GeneralName) -> Option<Box<str>> {
    let GeneralName::IpAddress(octets) = name else { return None };
    let octets = octets.as_bytes();
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()?;
    Some(ip.to_string().into())
}

/// Compared "as DNS names, which means that the comparison is case insensitive" (RFC 5922 §7.2); the root's dot says
/// nothing. IPv6 literals in the form that is usual.
pub(super) fn normal(name: &str) -> Box<str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.parse::<IpAddr>() {
        Ok(ip) => ip.to_string().into(),
        Err(_) => name.to_ascii_lowercase().into(),
    }
}

/// A common name may be anything, a person's name among it. It counts where it has the form of a host name with a domain.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let inside = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(label)
        && !name.ends_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_cert::der::asn1::{Ia5String, OctetString};

    fn uri(text: &str) -> GeneralName {
        GeneralName::UniformResourceIdentifier(Ia5String::new(text).expect("ASCII"))
    }

    fn dns(text: &str) -> GeneralName {
        GeneralName::DnsName(Ia5String::new(text).expect("ASCII"))
    }

    fn found(names: &[GeneralName]) -> String {
        Identities::find(Some(names), Some("cn.example.com")).to_string()
    }

    #[test]
    fn sip_uris_come_first_and_dns_names_only_without_them() {
        assert_eq!(found(&[dns("a.example.com"), uri("sip:Example.COM")]), "example.com");
        assert_eq!(found(&[dns("A.example.com"), dns("b.example.com.")]), "a.example.com, b.example.com");
        assert_eq!(found(&[uri("SIP:example.com:5061;transport=tls")]), "example.com");
        assert_eq!(found(&[uri("sip:192.0.2.1"), uri("sip:[2001:DB8:0::1]")]), "192.0.2.1, 2001:db8::1");
    }

    #[test]
    fn addresses_stand_for_themselves_beside_whatever_else_there_is() {
        let ip = |octets: &[u8]| GeneralName::IpAddress(OctetString::new(octets).expect("octets"));
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(found(&[ip(&[192, 0, 2, 1]), dns("a.example.com")]), "a.example.com, 192.0.2.1");
        assert_eq!(found(&[ip(&v6), uri("sip:example.com"), dns("b")]), "example.com, 2001:db8::1");
        assert_eq!(found(&[ip(&[1, 2, 3])]), "");
        let identities = Identities::find(Some(&[ip(&v6)]), None);
        assert!(identities.hold("2001:DB8:0::1") && !identities.hold("2001:db8::2"));
    }

    #[test]
    fn other_schemes_and_users_are_no_domains() {
        for text in [
            "sips:example.com",
            "im:example.com",
            "https://example.com/",
            "sip:alice@example.com",
            "sip:",
            "%",
        ] {
            assert_eq!(found(&[uri(text)]), "", "{text}");
            assert_eq!(found(&[uri(text), dns("a.example.com")]), "a.example.com", "{text}");
        }
    }

    #[test]
    fn the_common_name_counts_without_a_subject_alt_name_only() {
        let of = |names: Option<&[GeneralName]>, name| Identities::find(names, Some(name)).to_string();
        assert_eq!(of(None, "Sip.Example.com"), "sip.example.com");
        assert_eq!(of(Some(&[]), "sip.example.com"), "");
        for name in ["Example Ltd", "localhost", "*.example.com", "-a.example.com", "a..com", "192.0.2.1", ""]
        {
            assert_eq!(of(None, name), "", "{name}");
        }
    }

    #[test]
    fn names_match_as_a_whole() {
        let identities = |name| Identities::find(Some(&[dns(name)]), None);
        assert!(identities("Example.com").hold("eXample.COM"));
        assert!(identities("example.com").hold("example.com."));
        assert!(!identities("example.com").hold("foo.example.com"));
        assert!(!identities("foo.example.com").hold("example.com"));
        assert!(!identities("*.example.com").hold("foo.example.com"));
        assert!(identities("*.example.com").hold("*.example.com"));
        assert!(!identities(".example.com").hold("foo.example.com"));
        assert!(!Identities::default().hold(""));
    }
}

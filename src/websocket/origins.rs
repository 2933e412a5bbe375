//! From which web pages browsers may connect.

use std::net::Ipv6Addr;

use tungstenite::http::{HeaderMap, HeaderValue};

use super::failure::Failure;

/// Origins whose pages may connect to a listener.
///
/// RFC 6455 §10.2: "Servers that are not intended to process input from any web page but only for certain sites SHOULD verify the
/// |Origin| field is an origin they expect." It keeps other sites from using a browser; whoever is no browser may write what it
/// likes there, and nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Box<[Origin]>);

/// An origin, written in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Box<str>);

impl Origins {
    /// These.
    pub fn new(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self(origins.into_iter().collect())
    }

    /// Whether a handshake with these headers comes from one of them, or from no page: a browser always says where from.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let is_one = |value: &&HeaderValue| {
            let origin = value.to_str().ok().and_then(Origin::parse);
            origin.is_some_and(|origin| self.0.contains(&origin))
        };
        match headers.get_all("origin").iter().find(|value| !is_one(value)) {
            None => Ok(()),
            Some(other) => Err(Failure::Origin(other.to_str().unwrap_or_default().to_owned())),
        }
    }
}

impl Origin {
    /// `SCHEME://HOST`, with `:PORT` where it is not the scheme's own, or `null`, which stands for pages without one; in any case
    /// of letters.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Some(Self(text.into()));
        }
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        let (host, port) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((address, port)) => (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port),
            None => {
                let (host, port) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
                let is_host = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
                (Some(host).filter(|host| is_host && !host.is_empty())?.to_owned(), port)
            }
        };
        let usual = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            digits => Some(digits?.parse::<u16>().ok().filter(|port| *port > 0)?),
        };
        let port = port.filter(|port| Some(*port) != usual).map(|port| format!(":{port}"));
        is_scheme.then(|| Self(format!("{scheme}://{host}{}", port.unwrap_or_default()).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_same_however_it_is_written() {
        let one = |text: &str| Origin::parse(text).map(|origin| origin.0.into_string());
        for (text, same) in [
            ("https://Phone.example.NET", "https://phone.example.net"),
            ("https://phone.example.net:443", "https://phone.example.net"),
            ("http://phone.example.net:80", "http://phone.example.net"),
            ("http://phone.example.net:443", "http://phone.example.net:443"),
            ("https://[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("null", "null"),
        ] {
            assert_eq!(one(text).as_deref(), Some(same), "{text}");
        }
        for text in [
            "",
            "phone.example.net",
            "https:phone.example.net",
            "https://",
            "https://:443",
            "https://phone.example.net/",
            "https://anna@phone.example.net",
            "https://phone.example.net:0",
            "https://phone.example.net:",
            "https://[2001:db8::1",
            "https://*.example.net",
            "1ttps://phone.example.net",
            "https://a.example https://b.example",
        ] {
            assert_eq!(one(text), None, "{text}");
        }
    }
}

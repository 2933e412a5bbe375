//! Why a TLS connection failed, in words that an operator can act on.

use std::num::NonZeroU8;
use std::time::Duration;

use rustls::{
    AlertDescription, CertificateError, Error as Rustls, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};
use thiserror::Error;
use x509_cert::der::DateTime;

/// Why there is no TLS connection, or no longer. The text says what was found; [`Failure::remedy`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The peer's certificate, or one that it is issued by, is no longer valid.
    #[error("the peer's certificate expired at {}", date(*not_after))]
    Expired {
        /// Seconds since 1970.
        not_after: u64,
    },
    /// The peer's certificate, or one that it is issued by, is not valid yet.
    #[error("the peer's certificate is not valid before {}", date(*not_before))]
    NotYetValid {
        /// Seconds since 1970.
        not_before: u64,
    },
    /// The server's certificate is for others (RFC 5922 §7.3).
    #[error("the server's certificate is not for «{wanted}» but for {}", list(found))]
    WrongName {
        /// The domain that was asked for.
        wanted: String,
        /// The SIP domains of the certificate.
        found: Vec<String>,
    },
    /// Nobody of those that we trust has issued the peer's certificate.
    #[error("the peer's certificate is by nobody in our `ca` file")]
    UnknownCa,
    /// The peer's certificate is not meant for this.
    #[error("the peer's certificate has an extended key usage that does not allow its use here")]
    Purpose,
    /// The peer's certificate is broken, or signed by what cannot be verified.
    #[error("the peer's certificate cannot be verified: {0}")]
    BadCertificate(String),
    /// The client has to have a certificate and has none.
    #[error("the client has shown no certificate")]
    NoCertificate,
    /// There is no common version of the protocol.
    #[error("the peer speaks neither TLS 1.2 nor TLS 1.3")]
    Version,
    /// There is no common cipher suite, key exchange or signature.
    #[error("there is no cipher suite, key exchange or signature that both sides know: {0}")]
    Algorithms(String),
    /// The peer does not want us.
    #[error("the peer has ended the connection by the alert «{0}»")]
    Refused(String),
    /// What came is no TLS.
    #[error("what the peer sends is not TLS")]
    NotTls,
    /// The peer breaks the protocol.
    #[error("the peer breaks the TLS protocol: {0}")]
    Protocol(String),
    /// The connection ended before it was one.
    #[error("the peer closed the connection in the middle of the handshake")]
    Closed,
    /// The handshake was over on our side, and nothing has come behind it: over TLS 1.3 a server may refuse us only then.
    #[error("the peer closed the connection behind the handshake, before it had said anything")]
    Unheard,
    /// It did not come to an end.
    #[error("the TLS handshake was not over in time")]
    TooSlow,
    /// Who has asked over TLS, and has lost the connection for the answer, is nobody that a certificate could be for.
    #[error(
        "the connection of a request is gone, and its Via names nobody whose certificate could be asked for"
    )]
    NoName,
    /// Nothing that the peer could help.
    #[error("TLS fails on our side: {0}")]
    Own(String),
}

impl Failure {
    /// All labels, in the order of the enum.
    pub const LABELS: [&str; 17] = [
        "expired",
        "not_yet_valid",
        "wrong_name",
        "unknown_ca",
        "purpose",
        "bad_certificate",
        "no_certificate",
        "version",
        "algorithms",
        "refused",
        "not_tls",
        "protocol",
        "closed",
        "unheard",
        "too_slow",
        "no_name",
        "own",
    ];

    /// Its place among [`Failure::LABELS`].
    pub const fn index(&self) -> usize {
        match self {
            Self::Expired { .. } => 0,
            Self::NotYetValid { .. } => 1,
            Self::WrongName { .. } => 2,
            Self::UnknownCa => 3,
            Self::Purpose => 4,
            Self::BadCertificate(_) => 5,
            Self::NoCertificate => 6,
            Self::Version => 7,
            Self::Algorithms(_) => 8,
            Self::Refused(_) => 9,
            Self::NotTls => 10,
            Self::Protocol(_) => 11,
            Self::Closed => 12,
            Self::Unheard => 13,
            Self::TooSlow => 14,
            Self::NoName => 15,
            Self::Own(_) => 16,
        }
    }

    /// What of it is kept with a request that could not be sent.
    pub const fn cause(&self) -> Cause {
        Cause(NonZeroU8::MIN.saturating_add(self.index() as u8))
    }

    /// The metric's label.
    pub fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "ask the peer's operator to renew it; if it is not old, mend our clock",
            Self::NotYetValid { .. } => "compare our clock with the peer's",
            Self::WrongName { .. } => {
                "name the peer as its certificate does: RFC 5922 takes its `sip:` URIs, or its DNS names where it has \
                 none, as a whole and without wildcards"
            }
            Self::UnknownCa => {
                "add the authority that issued it to `ca`, and have the peer send all between the two"
            }
            Self::Purpose => {
                "ask the peer's operator for one for TLS servers (or clients, where it connects to us)"
            }
            Self::BadCertificate(_) => "ask the peer's operator to replace it",
            Self::NoCertificate => {
                "the client needs a certificate by one of `ca`; or set `client_certificates = \"optional\"`"
            }
            Self::Version => "ask the peer's operator for TLS 1.2 or newer",
            Self::Algorithms(_) => {
                "ask the peer's operator for ECDHE with AES-GCM or ChaCha20 and a current signature"
            }
            Self::Refused(_) => {
                "the peer's log says why; most often it does not know who issued our certificate, or finds another name \
                 in it"
            }
            Self::NotTls => "the peer is to use TLS on this port, or TCP on another",
            Self::Protocol(_) | Self::Closed => "the peer's log may say why",
            Self::Unheard => "the peer's log may say why; it may not like our certificate",
            Self::TooSlow => "the peer may speak something else on this port, or have too much to do",
            Self::NoName => {
                "the client is to write a host name into its Via that its certificate has, or its address"
            }
            Self::Own(_) => "see the text",
        }
    }

    /// What rustls found.
    pub(super) fn of(error: Rustls) -> Self {
        match error {
            Rustls::InvalidCertificate(error) => Self::of_certificate(error),
            Rustls::NoCertificatesPresented => Self::NoCertificate,
            Rustls::PeerIncompatible(what) => Self::of_incompatible(&what),
            Rustls::AlertReceived(AlertDescription::ProtocolVersion) => Self::Version,
            Rustls::AlertReceived(alert) => Self::Refused(words(alert)),
            Rustls::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            Rustls::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
                Self::Algorithms("its signature is none that we offered".to_owned())
            }
            Rustls::InvalidMessage(what) => Self::Protocol(format!("{what:?}")),
            Rustls::PeerMisbehaved(what) => Self::Protocol(format!("{what:?}")),
            Rustls::InappropriateMessage { .. }
            | Rustls::InappropriateHandshakeMessage { .. }
            | Rustls::DecryptError
            | Rustls::PeerSentOversizedRecord => Self::Protocol(error.to_string()),
            other => Self::Own(other.to_string()),
        }
    }

    fn of_certificate(error: CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::ExpiredContext { not_after, .. } => Self::Expired { not_after: not_after.as_secs() },
            E::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid { not_before: not_before.as_secs() }
            }
            E::NotValidForNameContext { expected, presented } => {
                Self::WrongName { wanted: expected.to_str().into_owned(), found: presented }
            }
            E::UnknownIssuer => Self::UnknownCa,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::Purpose,
            other => Self::BadCertificate(other.to_string()),
        }
    }

    fn of_incompatible(what: &PeerIncompatible) -> Self {
        use PeerIncompatible as P;
        match what {
            P::ServerDoesNotSupportTls12Or13
            | P::ServerTlsVersionIsDisabledByOurConfig
            // It came with TLS 1.2, whose clients all send it.
            | P::SignatureAlgorithmsExtensionRequired
            | P::SupportedVersionsExtensionRequired
            | P::Tls12NotOffered
            | P::Tls12NotOfferedOrEnabled => Self::Version,
            other => Self::Algorithms(format!("{other:?}")),
        }
    }
}

/// Why TLS failed, without what differs from peer to peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause(NonZeroU8);

impl Cause {
    /// As it is told to whoever sent a request: of the next hop, without saying which that is.
    const WORDS: [&str; Failure::LABELS.len()] = [
        "its certificate has expired",
        "its certificate is not valid yet",
        "its certificate is for another name",
        "its certificate is by nobody who is trusted here",
        "its certificate is not for this use",
        "its certificate cannot be verified",
        "it has shown no certificate",
        "it speaks neither TLS 1.2 nor TLS 1.3",
        "it has no cipher suite, key exchange or signature that is known here",
        "it has refused the handshake",
        "it does not speak TLS on this port",
        "it breaks the TLS protocol",
        "it closed the connection in the middle of the handshake",
        "it closed the connection behind the handshake, before it had said anything",
        "the handshake was not over in time",
        "it has no name that a certificate could be for",
        "it is not set up on this side",
    ];

    fn place(self) -> usize {
        usize::from(self.index())
    }

    /// Its place among [`Failure::LABELS`].
    pub const fn index(self) -> u8 {
        self.0.get() - 1
    }

    /// The one at this place among [`Failure::LABELS`].
    pub fn at(index: u8) -> Option<Self> {
        (usize::from(index) < Failure::LABELS.len()).then(|| Self(NonZeroU8::MIN.saturating_add(index)))
    }

    /// The one with this label.
    pub fn of_label(label: &str) -> Option<Self> {
        let index = Failure::LABELS.iter().position(|known| *known == label)?;
        Self::at(u8::try_from(index).ok()?)
    }

    /// Its label: one of [`Failure::LABELS`].
    pub fn label(self) -> &'static str {
        Failure::LABELS[self.place()]
    }

    /// `its certificate has expired`
    pub fn in_words(self) -> &'static str {
        Self::WORDS[self.place()]
    }
}

/// An alert by its name in the RFCs: `unknown_ca`.
fn words(alert: AlertDescription) -> String {
    let mut words = String::new();
    let name = format!("{alert:?}");
    let mut before = 'A';
    for c in name.chars() {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push('_');
        }
        words.push(c.to_ascii_lowercase());
        before = c;
    }
    words
}

/// Seconds since 1970 as `2026-11-28T12:00:00Z`.
pub fn date(seconds: u64) -> String {
    let date = DateTime::from_unix_duration(Duration::from_secs(seconds));
    date.map_or_else(|_| format!("{seconds} s after 1970"), |date| date.to_string())
}

fn list(names: &[String]) -> String {
    match names {
        [] => "no SIP domain at all".to_owned(),
        names => names.iter().map(|name| format!("«{name}»")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_rfcs() {
        assert_eq!(words(AlertDescription::UnknownCA), "unknown_ca");
        assert_eq!(words(AlertDescription::HandshakeFailure), "handshake_failure");
        assert_eq!(words(AlertDescription::CertificateRequired), "certificate_required");
    }

    #[test]
    fn texts_say_when_and_who() {
        let expired = Failure::Expired { not_after: 1_795_867_200 };
        assert_eq!(expired.to_string(), "the peer's certificate expired at 2026-11-28T12:00:00Z");
        let wrong = |found: &[&str]| Failure::WrongName {
            wanted: "a.example".to_owned(),
            found: found.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(
            wrong(&["b.example", "c.example"]).to_string(),
            "the server's certificate is not for «a.example» but for «b.example», «c.example»"
        );
        assert!(wrong(&[]).to_string().ends_with("but for no SIP domain at all"));
        assert_eq!((wrong(&[]).label(), Failure::Closed.label()), ("wrong_name", "closed"));
        let own = Failure::Own(String::new());
        for failure in [expired, wrong(&[]), Failure::TooSlow, own] {
            assert_eq!(failure.cause().label(), failure.label());
        }
        assert_eq!(Failure::TooSlow.cause().in_words(), "the handshake was not over in time");
    }
}

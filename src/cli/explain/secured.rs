//! What TLS asks of the next hop.

use std::fmt;

use serde::Serialize;

use crate::proxy::{Decision, State};
use crate::snapshot::Snapshot;
use crate::stream::Number;

/// Whose certificate is asked for, and who vouches for it.
#[derive(Debug, Serialize)]
pub struct TlsFacts {
    /// The name or the address that the next hop's certificate has to be for; also what it is asked for by SNI, where it is a
    /// name.
    pub verified_name: String,
    /// The file with the authorities that are trusted; absent: nobody is, and no connection is opened.
    pub ca: Option<String>,
    /// The subject of our own certificate, which the next hop may ask for.
    pub certificate: String,
    /// Another connection may be used: one that was opened from the very address that the message names.
    pub or_accepted: bool,
}

impl TlsFacts {
    /// Of a request that goes on; `None`: not over TLS.
    pub fn of(snapshot: &Snapshot, state: &State, decision: &Decision) -> Option<Self> {
        let listener = snapshot.plan.listener(decision.egress.listener);
        let tls = snapshot.plan.section(listener.section).tls.as_ref()?;
        let name = decision.stream.name().and_then(|id| state.name_of(id));
        let name = name.map(|name| name.to_string());
        let address = || decision.next_hop.address.ip().to_string();
        let own = tls.credentials.first().map(|own| own.certificate().subject.clone());
        Some(Self {
            or_accepted: decision.stream == Number::ANY,
            verified_name: name.unwrap_or_else(address),
            ca: tls.files.ca.as_ref().map(|path| path.display().to_string()),
            certificate: own.unwrap_or_default(),
        })
    }
}

impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verified_name, ca, certificate, or_accepted } = self;
        match ca {
            Some(ca) => {
                write!(f, "its certificate has to be for «{verified_name}», by an authority of {ca}")?
            }
            None => write!(f, "no connection is opened: the listener has no `ca`, so it trusts nobody")?,
        }
        if *or_accepted {
            write!(f, "; or it has connected from that very address and port")?;
        }
        write!(f, "; ours is {certificate}")
    }
}

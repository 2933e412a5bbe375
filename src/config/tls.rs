//! `certificate`, `key`, `sni`, `ca` and `client_certificates` of a `[[listener]]` over TLS.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::diagnostic::Findings;
use super::network::network;
use super::plan::host_name;
use super::read::{Entry, Section as Table, Text};
use crate::limits::{TLS_CERTIFICATES, TLS_FILE_BYTES};
use crate::net::Transport;
use crate::plan::{
    Advertise, AskClients, PairFiles, RecordRouteTls, Tls, TlsFault, TlsFiles, TlsNames, TlsPart,
};
use crate::tls::{Credentials, system_clock};

/// Keys of a `[[listener]]` that are read here.
pub(super) const KEYS: [&str; 5] = ["certificate", "key", "sni", "ca", "client_certificates"];

/// A certificate that runs out sooner is warned of, in seconds: thirty days.
const SOON: u64 = 30 * 24 * 3_600;

/// Reads the files that a configuration names; the same again whenever one of them has changed.
///
/// # Errors
/// The first file that cannot be used.
pub fn read_tls(files: &TlsFiles) -> Result<Tls, TlsFault> {
    Tls::read(files, &system_clock(), contents)
}

/// `[tls]`: whose certificate is asked for at addresses that stand in URIs without a name.
pub(super) fn names(entry: Option<Entry<'_>>, findings: &mut Findings) -> TlsNames {
    let Some(mut section) = entry.and_then(|e| e.section("[tls]", findings)) else {
        return TlsNames::default();
    };
    let pairs = section.take("names").map(|entry| entry.pairs(findings)).unwrap_or_default();
    section.finish(findings);
    let name = |(place, entry): (Text<'_>, Entry<'_>)| {
        let name = entry.text(findings).and_then(|text| host_name(&text, findings));
        Some((network(&place, findings)?, name?))
    };
    TlsNames::new(pairs.into_iter().filter_map(name).collect())
}

/// `[egress] record_route_tls`
pub(super) fn record_route(text: &Text<'_>, findings: &mut Findings) -> RecordRouteTls {
    match text.text {
        "transport" => RecordRouteTls::Transport,
        "sips" => RecordRouteTls::Sips,
        other => {
            findings.error(
                text.span.clone(),
                format!("`record_route_tls` cannot be «{other}»"),
                "write \"transport\" or \"sips\"",
            );
            RecordRouteTls::default()
        }
    }
}

/// The places of a listener's files in the configuration.
#[derive(Default)]
struct Places {
    /// Of certificate and key, pair by pair.
    pairs: Vec<(Range<usize>, Range<usize>)>,
    ca: Range<usize>,
}

impl Places {
    fn of(&self, part: TlsPart) -> Range<usize> {
        let pair = |number: usize| self.pairs.get(number).cloned().unwrap_or_default();
        match part {
            TlsPart::Certificate(number) => pair(number).0,
            TlsPart::Key(number) => pair(number).1,
            TlsPart::Ca => self.ca.clone(),
        }
    }
}

/// What a listener is to others.
pub(super) struct Shown<'a> {
    pub advertise: &'a [Advertise],
    /// The host of its `bind`.
    pub bound: &'a str,
}

impl Shown<'_> {
    /// The names and addresses that stand in Via and Record-Route.
    fn hosts(&self) -> impl Iterator<Item = &str> {
        let bound = self.bound.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified());
        let is_shown = bound && self.advertise.last().is_none_or(|last| last.to.is_some());
        self.advertise.iter().map(|advertise| &*advertise.host).chain(is_shown.then_some(self.bound))
    }
}

/// TLS of the listener in `table`; `None` where its transport has none, or findings say why not. Relative paths begin at
/// `folder`, the configuration's.
pub(super) fn read(
    table: &mut Table<'_>,
    transport: Transport,
    shown: &Shown<'_>,
    folder: Option<&Path>,
    findings: &mut Findings,
) -> Option<Arc<Tls>> {
    if !matches!(transport, Transport::Tls | Transport::Wss) {
        for entry in KEYS.iter().filter_map(|key| table.take(key)) {
            findings.error(
                entry.span,
                format!("a listener over {transport} has no `{}`", entry.key),
                "certificates belong to listeners over tls and wss",
            );
        }
        return None;
    }
    let (files, places) = files(table, folder.unwrap_or(Path::new("")), findings)?;
    match read_tls(&files) {
        Ok(tls) => {
            warn(&tls, &places, shown, findings);
            Some(Arc::new(tls))
        }
        Err(fault) => {
            findings
                .error(places.of(fault.part), fault.to_string(), belongs_in(fault.part))
                .code("certificate");
            None
        }
    }
}

fn files(table: &mut Table<'_>, folder: &Path, findings: &mut Findings) -> Option<(TlsFiles, Places)> {
    let mut places = Places::default();
    let first = pair(table, folder, &mut places, findings);
    let further =
        table.take("sni").map(|entry| entry.sections("[[listener.sni]]", findings)).unwrap_or_default();
    if further.len() >= TLS_CERTIFICATES {
        findings.error(
            table.span.clone(),
            format!("more than {TLS_CERTIFICATES} certificates of a listener"),
            "one certificate may be for many names: they stand in its subjectAltName",
        );
    }
    let mut pairs: Vec<PairFiles> = first.into_iter().collect();
    for mut section in further {
        pairs.extend(pair(&mut section, folder, &mut places, findings));
        section.finish(findings);
    }
    let ca = table.take("ca").and_then(|entry| entry.text(findings));
    let ca = ca.map(|Text { text, span }| {
        places.ca = span;
        folder.join(text)
    });
    let clients = table.take("client_certificates");
    let asked = clients.as_ref().map_or(Some(AskClients::Off), |entry| ask(entry, findings))?;
    if let (Some(entry), None, true) = (&clients, &ca, asked != AskClients::Off) {
        findings.error(
            entry.span.clone(),
            "clients' certificates cannot be verified without `ca`",
            "name a file with the certificates of the authorities that issue them",
        );
        return None;
    }
    (pairs.len() == places.pairs.len() && !pairs.is_empty())
        .then_some((TlsFiles { pairs, ca, clients: asked }, places))
}

/// `certificate` and `key`.
fn pair(
    table: &mut Table<'_>,
    folder: &Path,
    places: &mut Places,
    findings: &mut Findings,
) -> Option<PairFiles> {
    let [certificate, key] =
        [("certificate", belongs_in(TlsPart::Certificate(0))), ("key", belongs_in(TlsPart::Key(0)))].map(
            |(key, hint)| {
                let text = table
                    .need(key, &format!("\"FILE\": {hint}"), findings)
                    .and_then(|entry| entry.text(findings))?;
                Some((folder.join(text.text), text.span))
            },
        );
    let (certificate, key): ((PathBuf, _), (PathBuf, _)) = (certificate?, key?);
    places.pairs.push((certificate.1, key.1));
    Some(PairFiles { certificate: certificate.0, key: key.0 })
}

/// What a file holds.
const fn belongs_in(part: TlsPart) -> &'static str {
    match part {
        TlsPart::Certificate(_) => "PEM, our certificate first, then that of who issued it, and so on",
        TlsPart::Key(_) => "PEM, the private key of `certificate`, without a password",
        TlsPart::Ca => "PEM, the certificates of the authorities that are trusted",
    }
}

fn ask(entry: &Entry<'_>, findings: &mut Findings) -> Option<AskClients> {
    let text = entry.text(findings)?;
    match text.text {
        "off" => Some(AskClients::Off),
        "optional" => Some(AskClients::Optional),
        "required" => Some(AskClients::Required),
        other => {
            findings.error(
                text.span,
                format!("`client_certificates` cannot be «{other}»"),
                "write \"off\", \"optional\" or \"required\"",
            );
            None
        }
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(TLS_FILE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("it cannot be read: {error}")),
        Ok(length) if length as u64 > TLS_FILE_BYTES => {
            Err(format!("it is larger than {TLS_FILE_BYTES} bytes"))
        }
        Ok(_) => Ok(bytes),
    }
}

/// What can be used and will cause trouble.
fn warn(tls: &Tls, places: &Places, shown: &Shown<'_>, findings: &mut Findings) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for (number, (credentials, files)) in tls.credentials.iter().zip(&tls.files.pairs).enumerate() {
        let (path, place) = (files.certificate.display(), places.of(TlsPart::Certificate(number)));
        if let Some((text, hint)) = time(credentials, now) {
            findings.warn(place.clone(), format!("{path}: {text}"), hint).code("certificate-expiry");
        }
        if let Some(fault) = credentials.fault() {
            findings
                .warn(place.clone(), format!("{path}: {fault}"), belongs_in(TlsPart::Certificate(number)))
                .code("certificate-chain");
        }
        if credentials.certificate().identities.is_empty() {
            findings
                .warn(
                    place,
                    format!("{path}: the certificate is for no SIP domain, so no SIP client takes it"),
                    "it needs a subjectAltName with DNS names, or with sip: URIs (RFC 5922 §7.1)",
                )
                .code("certificate-name");
        }
        let key = places.of(TlsPart::Key(number));
        if std::fs::metadata(&files.key).is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
            findings
                .warn(
                    key,
                    format!("{}: everybody on this host may read the key or write it", files.key.display()),
                    format!("chmod o= {}", files.key.display()),
                )
                .code("certificate-key");
        }
    }
    // RFC 5922 §7.5: "the proxy MUST insert into the Record-Route header a URI that corresponds to an identity for which the
    // proxy has a certificate".
    for name in shown.hosts() {
        let is_there = |credentials: &Credentials| credentials.certificate().identities.hold(name);
        if !tls.credentials.iter().any(is_there) {
            let hint = "clients that go there by TLS will refuse it; `advertise` a name that it has, or have this one \
                        put into its subjectAltName";
            let message = format!("no certificate is for «{name}», which is advertised");
            findings.warn(places.of(TlsPart::Certificate(0)), message, hint).code("certificate-name");
        }
    }
}

fn time(credentials: &Credentials, now: u64) -> Option<(String, &'static str)> {
    let day = 24 * 3_600;
    let (from, until) = (credentials.certificate().not_before, credentials.not_after());
    if until <= now {
        let text = format!("the certificate, or one in its chain, expired {} days ago", (now - until) / day);
        return Some((text, "renew it: peers refuse it"));
    }
    if from > now {
        let text = format!("the certificate is not valid for another {} hours", (from - now).div_ceil(3_600));
        return Some((text, "compare this host's clock with others"));
    }
    let text = || format!("the certificate, or one in its chain, expires in {} days", (until - now) / day);
    (until - now < SOON).then(|| (text(), "renew it; a running process takes the new one by itself"))
}

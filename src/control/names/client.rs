//! Asks name servers, by hickory-resolver: over UDP, and over TCP what does not fit (RFC 7766 §5).

use std::io;
use std::net::SocketAddr;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query as Asked, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};

use crate::dns::{Answer, Kind, Query, Record};
use crate::plan::Dns;

/// Name servers, and the system's own list of hosts.
pub struct Client {
    /// Why there are no servers, if there are none.
    resolver: Result<TokioResolver, Box<str>>,
    hosts: Hosts,
}

impl Client {
    /// With the servers of `[dns]`, else those of /etc/resolv.conf. Nothing is sent yet.
    pub fn new(dns: &Dns) -> Self {
        let resolver = resolver(dns).map_err(|error| error.to_string().into());
        Self { resolver, hosts: Hosts::from_system().unwrap_or_default() }
    }

    /// Why nobody can be asked, if that is so.
    pub fn trouble(&self) -> Option<&str> {
        self.resolver.as_ref().err().map(|why| &**why)
    }

    /// What DNS says, and before it the system's list of hosts.
    pub async fn ask(&self, query: &Query) -> Answer {
        let Ok(name) = Name::from_ascii(format!("{}.", query.name)) else {
            return Answer::Nothing { exists: false, ttl_s: None };
        };
        if let Some(answer) = self.of_hosts(query, &name) {
            return answer;
        }
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(why) => return Answer::Failed(why.clone()),
        };
        match resolver.lookup(name, record_type(query.kind)).await {
            Ok(lookup) => records(&lookup, query.kind),
            Err(error) => absent(error),
        }
    }

    /// What the list of hosts says of a name: it has nothing but addresses, and for such a name, and for the services
    /// below it, nobody else is asked.
    fn of_hosts(&self, query: &Query, name: &Name) -> Option<Answer> {
        let host = match query.name.strip_prefix('_') {
            Some(service) => &Name::from_ascii(format!("{}.", service.splitn(3, '.').nth(2)?)).ok()?,
            None => name,
        };
        let look_up = |kind| self.hosts.lookup_static_host(&Asked::query(host.clone(), record_type(kind)));
        let (four, six) = (look_up(Kind::A), look_up(Kind::Aaaa));
        if four.is_none() && six.is_none() {
            return None;
        }
        let found = match query.kind {
            Kind::A => four,
            Kind::Aaaa => six,
            Kind::Naptr | Kind::Srv => None,
        };
        let nothing = Answer::Nothing { exists: true, ttl_s: Some(u32::MAX) };
        Some(found.map_or(nothing, |lookup| records(&lookup, query.kind)))
    }
}

fn resolver(dns: &Dns) -> Result<TokioResolver, NetError> {
    let (config, mut options) = match dns.servers.as_slice() {
        [] => read_system_conf()?,
        servers => {
            let servers = servers.iter().copied().map(server).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        }
    };
    // What is kept, and how long, is the keeper's affair.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = true;
    options.timeout = dns.timeout.unwrap_or(options.timeout);
    options.attempts = dns.attempts.unwrap_or(options.attempts);
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.with_options(options).build()
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections.iter_mut().for_each(|connection| connection.port = address.port());
    server
}

const fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::Naptr => RecordType::NAPTR,
        Kind::Srv => RecordType::SRV,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
    }
}

/// The records of the type that was asked for. Aliases on the way count for the time that all holds.
fn records(lookup: &Lookup, kind: Kind) -> Answer {
    let all = lookup.answers();
    let records: Vec<Record> = all.iter().filter_map(|record| read(&record.data, kind)).collect();
    let ttl_s = all.iter().map(|record| record.ttl).min();
    if records.is_empty() { Answer::Nothing { exists: true, ttl_s } } else { found(records, ttl_s) }
}

fn found(records: Vec<Record>, ttl_s: Option<u32>) -> Answer {
    Answer::Records { records, ttl_s: ttl_s.unwrap_or_default() }
}

fn read(data: &RData, kind: Kind) -> Option<Record> {
    match (data, kind) {
        (RData::A(a), Kind::A) => Some(Record::Address(a.0.into())),
        (RData::AAAA(aaaa), Kind::Aaaa) => Some(Record::Address(aaaa.0.into())),
        (RData::SRV(srv), Kind::Srv) => Some(Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        }),
        (RData::NAPTR(naptr), Kind::Naptr) => Some(Record::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            has_regexp: !naptr.regexp.is_empty(),
            replacement: plain(&naptr.replacement),
        }),
        _ => None,
    }
}

fn plain(name: &Name) -> Box<str> {
    name.to_lowercase().to_ascii().trim_end_matches('.').into()
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

fn absent(error: NetError) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(no)) => match no.response_code {
            ResponseCode::NXDomain => Answer::Nothing { exists: false, ttl_s: no.negative_ttl },
            ResponseCode::NoError => Answer::Nothing { exists: true, ttl_s: no.negative_ttl },
            code => Answer::Failed(code.to_string().into()),
        },
        other => Answer::Failed(other.to_string().into()),
    }
}

/// What /etc/resolv.conf and /etc/hosts were when they were read last: they may change while we run.
#[derive(PartialEq, Eq, Default)]
pub struct SystemFiles([Option<(std::time::SystemTime, u64)>; 2]);

impl SystemFiles {
    /// As they are now.
    pub fn now() -> Self {
        let stamp = |path: &str| -> io::Result<_> {
            let metadata = std::fs::metadata(path)?;
            Ok((metadata.modified()?, metadata.len()))
        };
        Self(["/etc/resolv.conf", "/etc/hosts"].map(|path| stamp(path).ok()))
    }
}

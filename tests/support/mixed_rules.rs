//! Rules by the thousand over all dimensions, and for each of them a request that satisfies it.

use std::fmt::Write as _;

/// What a request shows to rules.
#[derive(Clone, Debug)]
pub struct Request {
    /// Upper case.
    pub method: &'static str,
    /// Name of the listener it came in on.
    pub listener: &'static str,
    /// Where it came from.
    pub source: String,
    /// Users and hosts of the Request-URI, From and To.
    pub ruri: (String, String),
    /// See [`Request::ruri`].
    pub from: (String, String),
    /// See [`Request::ruri`].
    pub to: (String, String),
    /// The value of `X-Tenant`.
    pub tenant: Option<String>,
}

/// The listeners that the rules name, and the addresses they need.
pub const LISTENERS: &str = "[[listener]]\nname = \"public\"\nbind = \"udp:192.0.2.254:5060\"\n\
                             [[listener]]\nname = \"private\"\nbind = \"udp:10.0.0.4:5060\"\n";

/// See [`LISTENERS`].
pub const ADDRESSES: &[&str] = &["192.0.2.254/24", "10.0.0.4/24"];

/// So many rules, the last of which takes what the others leave, with their listeners.
pub fn configuration(rules: usize) -> String {
    format!("{LISTENERS}{}", routes(rules))
}

/// So many `[[route]]`s, the last of which takes what the others leave.
pub fn routes(rules: usize) -> String {
    let mut text = String::new();
    for n in 0..rules.saturating_sub(1) {
        let (when, _) = rule(n as u64);
        let action = match n % 7 {
            0 => "reject = 404".to_owned(),
            _ => format!("to = \"sip:10.0.0.{}:5060\"\nmode = \"stateless\"", 10 + n % 200),
        };
        // Writing to a String does not fail.
        let _ = write!(text, "[[route]]\nname = \"r{n}\"\nwhen = {{ {when} }}\n{action}\n");
    }
    text + "[[route]]\nname = \"rest\"\nto = \"request-uri\"\nmode = \"stateless\"\n"
}

/// A request as trunks send it, that only the last rule takes.
pub fn plain() -> Request {
    Request {
        method: "INVITE",
        listener: "public",
        source: "192.0.2.1".into(),
        ruri: ("+33123456789".into(), "10.0.0.100".into()),
        from: ("+33987654321".into(), "192.0.2.1".into()),
        to: ("+33123456789".into(), "10.0.0.100".into()),
        tenant: None,
    }
}

/// A request that satisfies the n-th rule.
pub fn request(n: usize) -> Request {
    rule(n as u64).1
}

/// The n-th rule's conditions, and a request that satisfies them.
fn rule(n: u64) -> (String, Request) {
    let mut when = Vec::new();
    let mut request = plain();
    let first = dice(n, 1, 11);
    when.push(condition(first, n, &mut request));
    let second = dice(n, 2, 33);
    if second < 11 && !clash(first, second) {
        when.push(condition(second, n / 4, &mut request));
    }
    if dice(n, 3, 3) == 0 {
        request.method = ["INVITE", "MESSAGE", "SUBSCRIBE"][dice(n, 4, 3) as usize];
        when.push(format!("method = [\"{}\", \"REFER\"]", request.method));
    }
    // The listeners are IPv4: no IPv6 source reaches them.
    if dice(n, 5, 4) == 0 && !request.source.contains(':') {
        request.listener = ["public", "private"][dice(n, 6, 2) as usize];
        when.push(format!("listener = [\"{}\"]", request.listener));
    }
    match dice(n, 7, 24) {
        0 => when.push("transport = [\"udp\"]".into()),
        1 => when.push("not = { method = [\"OPTIONS\", \"REGISTER\"] }".into()),
        2 => when.push(format!("not = {{ from_user = '^blocked-{n}$' }}")),
        3 => when.push("not = { source = [\"203.0.113.0/24\"], not = { ruri_user = '^112$' } }".into()),
        _ => {}
    }
    (when.join(", "), request)
}

/// Two conditions on the same part of a request.
fn clash(a: u64, b: u64) -> bool {
    let part = |kind| {
        if matches!(kind, 0 | 1 | 9) {
            0
        } else if matches!(kind, 7 | 10) {
            7
        } else {
            kind
        }
    };
    part(a) == part(b)
}

/// A condition of some kind that the request then satisfies.
fn condition(kind: u64, n: u64, request: &mut Request) -> String {
    match kind {
        0 => {
            request.ruri.0 = format!("+99{n:05}55");
            format!("ruri_prefix = [\"+99{n:05}\", \"0099{n:05}\"]")
        }
        1 => {
            request.ruri.0 = format!("*{n:05}4711");
            format!("ruri_user = '^\\*{n:05}[0-9]+$'")
        }
        2 if n.is_multiple_of(5) => {
            request.source = format!("2001:db8:{:x}::7", n % 0x10000);
            format!("source = [\"2001:db8:{:x}::/48\"]", n % 0x10000)
        }
        2 => {
            request.source = format!("172.{}.{}.9", 16 + n / 256 % 240, n % 256);
            format!("source = [\"172.{}.{}.0/{}\"]", 16 + n / 256 % 240, n % 256, 24 + n % 4)
        }
        3 => {
            request.ruri.1 = format!("gateway-{n}.example.net");
            format!("ruri_host = [\"{}\"]", request.ruri.1)
        }
        4 => {
            request.from.1 = format!("customer-{n}.example.org");
            format!("from_host = [\"{}\", \"{n}.old.example.org\"]", request.from.1)
        }
        5 => {
            request.to.1 = format!("10.77.{}.{}", n / 256 % 256, n % 256);
            format!("to_host = [\"{}\"]", request.to.1)
        }
        6 => {
            request.from.0 = format!("agent-{n}");
            format!("from_user = '^agent-{n}$'")
        }
        7 => {
            request.to.0 = format!("+88{n:05}");
            format!("to_user = '^\\+88{n:05}'")
        }
        8 => {
            request.tenant = Some(format!("tenant-{n}"));
            format!("header = {{ \"X-Tenant\" = '^tenant-{n}$' }}")
        }
        9 => {
            request.ruri.0 = format!("0077{n:05}12");
            format!("ruri_user = '^(00|\\+)77{n:05}[1-9][0-9]*$'")
        }
        _ => {
            request.to.0 = format!("0{n:05}99");
            format!("to_user = '[0-9]{n:05}99$'")
        }
    }
}

/// A number below `sides` that depends on nothing but the rule and the question. SplitMix64's last steps
/// (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn dice(n: u64, question: u64, sides: u64) -> u64 {
    let mut z = (n << 8 | question).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % sides
}

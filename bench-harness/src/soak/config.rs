//! Configurations that a soaked process is reloaded with.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::events::SPARES;
use crate::draw::Random;
use crate::subject::FORWARDER_CORE;
use crate::world::{INSIDE, OUTSIDE};

/// The listeners that the calls use, one that follows an interface, a hundred rules.
pub fn base() -> String {
    let mut text = head();
    rules(&mut text, 100);
    text
}

/// Other rules, other listeners; those that the calls use stay. `refused`: addresses that rules treat apart.
pub fn other(random: &mut Random, refused: &[IpAddr]) -> String {
    let mut text = head();
    for number in 0..random.below(12) {
        // Some of these addresses come and go, some never come.
        let bind = match random.below(3) {
            0 => format!("10.9.{}.{}", random.below(SPARES), 1 + random.below(12)),
            1 => INSIDE.to_string(),
            _ => format!("[fd00:9:{}::{}]", random.below(SPARES), 1 + random.below(12)),
        };
        let port = 5100 + 16 * number + random.below(8);
        let _ = writeln!(text, "[[listener]]\nname = \"extra-{number}\"\nbind = \"udp:{bind}:{port}\"\n");
    }
    if random.below(2) == 0 {
        text.push_str("[[listener]]\nname = \"follows-1\"\nbind = \"udp:spare1:5080\"\n\n");
    }
    for (number, address) in refused.iter().enumerate() {
        let what = if number % 2 == 0 { "drop = true" } else { "reject = 480" };
        let _ = writeln!(text, "[[route]]\nwhen = {{ ruri_host = [\"{address}\"] }}\n{what}\n");
    }
    let count = 10 + random.below(400);
    rules(&mut text, count);
    text
}

/// One that has to be refused as a whole.
pub fn broken(random: &mut Random) -> String {
    let mut text = base();
    text.push_str(match random.below(4) {
        0 => "[[route]\n",
        1 => "\n[[route]]\nto = \"request-uri\"\negress = \"nobody\"\n",
        2 => "\n[[listener]]\nname = \"inside\"\nbind = \"udp:10.1.0.1:5099\"\n",
        _ => "\n[[route]]\nwhen = { ruri_user = '[' }\nto = \"request-uri\"\nmode = \"stateless\"\n",
    });
    text
}

fn head() -> String {
    format!(
        "[engine]\ncores = [{FORWARDER_CORE}]\n
[[listener]]\nname = \"inside\"\nbind = \"udp:{INSIDE}:5060\"\n
[[listener]]\nname = \"outside\"\nbind = \"udp:{OUTSIDE}:5060\"\n
[[listener]]\nname = \"outside6\"\nbind = \"udp:[2001:db8:2::1]:5060\"\n
[[listener]]\nname = \"follows\"\nbind = \"udp:spare0:5060\"\n\n"
    )
}

/// Rules that match no call, and one that does.
fn rules(text: &mut String, count: usize) {
    for number in 1..count {
        let when = match number % 3 {
            0 => format!("ruri_user = '^\\*{number}[0-9]+$'"),
            1 => format!("ruri_prefix = [\"77{number:05}\"]"),
            _ => format!("source = [\"172.16.{}.0/24\"]", number % 256),
        };
        let _ = writeln!(
            text,
            "[[route]]\nwhen = {{ {when} }}\nto = \"sip:10.2.0.3:5060\"\nmode = \"stateless\"\n"
        );
    }
    text.push_str("[[route]]\nname = \"load\"\nto = \"request-uri\"\nmode = \"stateless\"\n");
}

//! An address that moves between two hosts, as keepalived moves it: both have listeners on it, bound early, and share
//! their keys.

use std::net::SocketAddr;

use crate::sip::Dialog;
use crate::viaduct::{Home, RELAY, Viaduct};
use crate::world::World;

/// Addresses that both hosts listen on and one has.
struct Pair {
    first: World,
    second: World,
}

const PUBLIC: &str = "1.2.3.50";
const PRIVATE: &str = "10.0.0.50";
const SIX: &str = "fd00:6::50";

impl Pair {
    fn new() -> Self {
        let first = World::new();
        let second = World::beside(&first);
        let pair = Self { first, second };
        pair.give(&pair.first, "eth0");
        pair
    }

    /// The addresses are this host's from now on, and the neighbours know.
    fn give(&self, to: &World, by: &str) {
        for (address, length, link) in [(PUBLIC, 24, "pub"), (PRIVATE, 24, "priv"), (SIX, 64, "six")] {
            let nodad = if length == 64 { "nodad" } else { "" };
            to.ip(&format!("addr add {address}/{length} dev {link} {nodad}"));
        }
        self.first.public.ip(&format!("route replace {PUBLIC}/32 dev {by}"));
        self.first.private.ip(&format!("route replace {PRIVATE}/32 dev {by}"));
        self.first.six.ip(&format!("route replace {SIX}/128 dev {by}"));
    }

    fn take(&self, from: &World) {
        for (address, length, link) in [(PUBLIC, 24, "pub"), (PRIVATE, 24, "priv"), (SIX, 64, "six")] {
            from.ip(&format!("addr del {address}/{length} dev {link}"));
        }
    }
}

fn configuration(keys: &str) -> String {
    let listener =
        |name: &str, bind: String| format!("[[listener]]\nname = \"{name}\"\nbind = \"udp:{bind}:5060\"\n");
    [
        "[admin]\nlisten = \"127.0.0.1:9060\"\n".to_owned(),
        format!("[keys]\nfile = \"{keys}\"\n"),
        listener("public", PUBLIC.into()),
        listener("private", PRIVATE.into()),
        listener("six", format!("[{SIX}]")),
        RELAY.to_owned(),
    ]
    .concat()
}

fn all_are(viaduct: &Viaduct<'_>, state: &str) {
    ["public", "private", "six"].iter().for_each(|listener| viaduct.state(listener, state));
}

fn socket(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), 5060)
}

#[test]
fn a_call_goes_on_through_the_host_that_has_the_address_now() {
    let pair = Pair::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = configuration(&folder.path().join("keys").display().to_string());
    let (home, other_home) = (Home::new(&file), Home::new(&file));
    let first = home.start(&pair.first);
    let second = other_home.start(&pair.second);
    all_are(&first, "up");
    all_are(&second, "address absent");
    assert!(pair.second.sockets("1.2.3.50:5060") > 0, "it is bound all the same");

    for (ip, edge) in [("10.0.0.100", PRIVATE), ("fd00:6::100", SIX)] {
        let caller = pair.first.public.party("caller", "1.2.3.100:5060");
        let far = if edge == SIX { &pair.first.six } else { &pair.first.private };
        let callee = far.party("callee", &socket(ip).to_string());
        let (public, inside) = (socket(PUBLIC), socket(edge));
        caller.send(&caller.request("INVITE", &callee.uri()), public);
        let invite = callee.receive_request("INVITE");
        assert_eq!(invite.from, inside);
        let answer = callee.answer(&invite, "200 OK");
        let received = caller.receive_response(200);
        let mut from_caller = Dialog::of_caller(&received.message);
        let mut from_callee = Dialog::of_callee(&invite.message, &answer);
        from_caller.send(&caller, "ACK");
        callee.receive_request("ACK");

        let before = (first.metrics().messages("in"), second.metrics().messages("in"));
        pair.take(&pair.first);
        pair.give(&pair.second, "eth1");
        all_are(&first, "address absent");
        all_are(&second, "up");
        assert_eq!(pair.first.sockets("1.2.3.50:5060"), pair.second.sockets("1.2.3.50:5060"));

        // The re-INVITE from one end, the BYE from the other.
        from_caller.send(&caller, "INVITE");
        let again = callee.receive_request("INVITE");
        assert_eq!(again.from, inside);
        assert!(again.message.values("Route").is_empty(), "{}", again.message);
        callee.answer(&again, "200 OK");
        assert_eq!(caller.receive_response(200).from, public);
        from_caller.send(&caller, "ACK");
        callee.receive_request("ACK");
        from_callee.send(&callee, "BYE");
        let bye = caller.receive_request("BYE");
        assert_eq!(bye.from, public);
        caller.answer(&bye, "200 OK");
        callee.receive_response(200);

        second.accounted(before.1 + 5);
        let after = (first.metrics().messages("in"), second.metrics().messages("in"));
        assert_eq!((after.0 - before.0, after.1 - before.1), (0, 5), "all of it through the second");
        for metrics in [first.metrics(), second.metrics()] {
            assert_eq!(metrics.sum("viaduct_bad_tokens_total", &[]), 0);
            assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0);
        }

        // Back again for the next.
        pair.take(&pair.second);
        pair.give(&pair.first, "eth0");
        all_are(&second, "address absent");
        all_are(&first, "up");
    }
    first.stop();
    second.stop();
}

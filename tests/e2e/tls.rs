//! TLS as neighbours see it: calls between it and everything else, whom Viaduct connects to, and what it says where it does not.

use crate::phone::{ByDatagrams, ByStreams, Phone, Secrets, Taken};
use crate::pki::{Authority, Pair, in_years};
use crate::sip::{Dialog, Speaker, same_transaction};
use crate::viaduct::{Home, KEEPING_RELAY, LISTENERS, Viaduct};
use crate::world::{World, edge, eventually};

/// TLS on the addresses of the world.
const TLS: &str = r#"
[hosts]
"alice.example" = ["1.2.3.100"]
"bob.example" = ["10.0.0.100"]
"carol.example" = ["10.0.0.100"]
"six.example" = ["fd00:6::100"]

[[listener]]
name = "public-tls"
bind = "tls:1.2.3.4:5061"
advertise = "edge.example:5061"
certificate = "edge.crt"
key = "edge.key"
ca = "ca.pem"

[[listener]]
name = "private-tls"
bind = "tls:10.0.0.4:5061"
advertise = "edge.example:5061"
certificate = "edge.crt"
key = "edge.key"
ca = "ca.pem"

[[listener]]
name = "six-tls"
bind = "tls:[fd00:6::4]:5061"
advertise = "edge.example:5061"
certificate = "edge.crt"
key = "edge.key"
ca = "ca.pem"
"#;

const PUBLIC: (&str, &str) = ("1.2.3.4:5061", "edge.example");
pub const PRIVATE: (&str, &str) = ("10.0.0.4:5061", "edge.example");
const BOB: &str = "10.0.0.100:5061";

/// An authority that all trust, and Viaduct's files.
pub struct Trust {
    pub authority: Authority,
    pub home: Home,
}

impl Trust {
    /// With these rules.
    pub fn new(rules: &str) -> Self {
        let authority = Authority::new("A");
        let trust = Self { home: Home::new(&format!("{LISTENERS}{TLS}{rules}")), authority };
        trust.home.put("ca.pem", &trust.authority.pem());
        trust.show(&trust.authority.issue(&["edge.example"]));
        trust
    }

    /// Has Viaduct show this certificate.
    pub fn show(&self, pair: &Pair) {
        self.home.put("edge.crt", &pair.certificate);
        self.home.put("edge.key", &pair.key);
    }

    /// What an endpoint of these names shows.
    pub fn secrets(&self, names: &[&str]) -> Secrets {
        Secrets::new(&self.authority.issue(names), &self.authority)
    }
}

/// A call with re-INVITEs from both sides, which the caller ends or the callee.
fn call(caller: &dyn Phone, callee: &dyn Phone, caller_ends: bool) {
    call_to(&callee.uri(), caller, callee, caller_ends);
}

/// The same, where this URI is called.
fn call_to(uri: &str, caller: &dyn Phone, callee: &dyn Phone, caller_ends: bool) {
    let invite = caller.request("INVITE", uri);
    caller.put(&invite);
    let received = callee.expect("INVITE ");
    callee.answer(&received, "180 Ringing");
    caller.expect("SIP/2.0 180");
    let ok = callee.answer(&received, "200 OK");
    let answer = caller.expect("SIP/2.0 200").message;
    let (mut here, mut there) = (Dialog::of_caller(&answer), Dialog::of_callee(&received.message, &ok));
    caller.put(&here.request(caller, "ACK"));
    callee.expect("ACK ");
    again(callee, &mut there, caller);
    again(caller, &mut here, callee);
    let (who, dialog, whom) = if caller_ends { (caller, here, callee) } else { (callee, there, caller) };
    within(who, dialog, whom, "BYE");
}

/// A re-INVITE and its ACK.
fn again(from: &dyn Phone, dialog: &mut Dialog, to: &dyn Phone) {
    from.put(&dialog.request(from, "INVITE"));
    let received = to.expect("INVITE ");
    to.answer(&received, "200 OK");
    let answer = from.expect("SIP/2.0 200").message;
    let mut ack = dialog.request(from, "ACK");
    let number = answer.value("CSeq").split(' ').next().expect("a number").to_owned();
    ack.set("CSeq", &format!("{number} ACK"));
    from.put(&ack);
    to.expect("ACK ");
}

fn within(from: &dyn Phone, mut dialog: Dialog, to: &dyn Phone, method: &str) {
    from.put(&dialog.request(from, method));
    let received = to.expect(&format!("{method} "));
    to.answer(&received, "200 OK");
    from.expect("SIP/2.0 200");
}

/// What happens around Viaduct with these rules.
fn scene(rules: &str, play: impl FnOnce(&World, &Trust, &Viaduct<'_>)) {
    let world = World::new();
    let trust = Trust::new(rules);
    let viaduct = trust.home.start(&world);
    play(&world, &trust, &viaduct);
    viaduct.stop();
}

/// On the outside, over UDP.
fn public(world: &World) -> ByDatagrams {
    ByDatagrams(world.public.party("udp", "1.2.3.100:5060"), edge())
}

/// On the inside, likewise.
fn inner(world: &World) -> ByDatagrams {
    ByDatagrams(world.private.party("inner", "10.0.0.100:5060"), "10.0.0.4:5060".parse().expect("an address"))
}

/// On the outside, with a certificate of her name.
fn alice<'w>(world: &'w World, trust: &Trust) -> ByStreams<'w> {
    let secrets = trust.secrets(&["alice.example"]);
    ByStreams::new(&world.public, "alice", "alice.example", "1.2.3.100:5061", PUBLIC, Some(&secrets))
}

/// On the inside, with a certificate of his name by the authority that is trusted.
fn bob<'w>(world: &'w World, trust: &Trust) -> ByStreams<'w> {
    showing(world, &trust.secrets(&["bob.example"]))
}

/// Who is at Bob's address and shows this.
fn showing<'w>(world: &'w World, secrets: &Secrets) -> ByStreams<'w> {
    ByStreams::new(&world.private, "bob", "bob.example", BOB, PRIVATE, Some(secrets))
}

#[test]
fn a_sips_uri_is_called_over_tls() {
    scene(KEEPING_RELAY, |world, trust, _| {
        let (alice, bob) = (alice(world, trust), bob(world, trust));
        for caller_ends in [true, false] {
            call_to("sips:bob@bob.example", &alice, &bob, caller_ends);
        }
    });
}

/// RFC 3261 §9.1, §17.1.1.3: they go the way of the INVITE, by its connection.
#[test]
fn a_cancel_and_the_ack_to_a_refusal_go_over_tls() {
    scene(KEEPING_RELAY, |world, trust, viaduct| {
        let (alice, bob) = (alice(world, trust), bob(world, trust));
        let public = public(world);
        for caller in [&alice as &dyn Phone, &public] {
            let invite = caller.request("INVITE", &bob.uri());
            caller.put(&invite);
            let received = bob.expect("INVITE ");
            bob.answer(&received, "180 Ringing");
            caller.expect("SIP/2.0 180");
            caller.put(&same_transaction(&invite, "CANCEL", invite.value("To")));
            assert!(caller.expect("SIP/2.0 200").message.value("CSeq").ends_with("CANCEL"));
            let cancel = bob.expect("CANCEL ");
            bob.answer(&cancel, "200 OK");
            bob.answer(&received, "487 Request Terminated");
            let ack = bob.expect("ACK ").message;
            let branch = received.message.branch();
            assert_eq!((cancel.message.branch(), ack.branch()), (branch.clone(), branch));
            let refused = caller.expect("SIP/2.0 487").message;
            caller.put(&same_transaction(&invite, "ACK", refused.value("To")));
        }
        let opened = viaduct.metrics().sum("viaduct_tls_handshakes_total", &[("side", "opened")]);
        assert_eq!(opened, 1, "all by one connection");
    });
}

/// RFC 5923 §8.1: a connection is for the name that it was verified for, whoever else is at the address.
#[test]
fn two_names_at_one_address_are_two_servers() {
    scene(KEEPING_RELAY, |world, trust, viaduct| {
        let bob = bob(world, trust);
        let public = public(world);
        call(&public, &bob, true);
        public.put(&public.request("INVITE", &bob.uri().replace("bob.example", "carol.example")));
        let answer = public.expect("SIP/2.0 500").message;
        assert!(answer.value("Warning").contains("(wrong_name)"), "{answer}");
        call(&public, &bob, false);
        let opened = viaduct.metrics().sum("viaduct_tls_handshakes_total", &[("side", "opened")]);
        assert_eq!((opened, failures(viaduct, "wrong_name")), (1, 1));
    });
}

/// What stands on top of a request that goes on over TLS says so to both sides.
#[test]
fn a_request_over_tls_says_so() {
    scene(KEEPING_RELAY, |world, trust, _| {
        let bob = bob(world, trust);
        let public = public(world);
        public.put(&public.request("INVITE", "sips:bob@bob.example"));
        let invite = bob.expect("INVITE sips:bob@bob.example SIP/2.0").message;
        assert!(invite.values("Via")[0].starts_with("SIP/2.0/TLS edge.example:5061;"), "{invite}");
        assert!(invite.values("Record-Route")[0].starts_with("<sips:"), "{invite}");
        assert!(invite.values("Record-Route")[1].ends_with("@1.2.3.4:5060;transport=udp;lr>"), "{invite}");
        public.put(&public.request("INVITE", &bob.uri()));
        let invite = bob.expect("INVITE sip:").message;
        assert!(
            invite.values("Record-Route")[0].ends_with("@edge.example:5061;transport=tls;lr>"),
            "{invite}"
        );
        assert!(invite.values("Record-Route")[1].ends_with("@1.2.3.4:5060;transport=udp;lr>"), "{invite}");
    });
}

#[test]
fn explain_and_check_say_whose_certificate_would_be_asked_for() {
    let world = World::new();
    let trust = Trust::new(KEEPING_RELAY);
    let words = ["explain", "--ruri", "sip:bob@bob.example;transport=tls", "--source", "1.2.3.100:5060"];
    let words = [&words[..], &["--listener", "public"]].concat();
    let said = |words: &[&str]| {
        let output = trust.home.command(&world, words);
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let text = said(&words);
    assert!(text.contains("its certificate has to be for «bob.example», by an authority of "), "{text}");
    let json = said(&[&words[..], &["--json"]].concat());
    assert!(json.contains("\"verified_name\": \"bob.example\""), "{json}");
    let trusting = format!("{LISTENERS}{TLS}[[route]]\nto = \"sip:bob.example;transport=tls\"\n");
    trust.home.write(&trusting);
    assert!(!said(&["check"]).contains("no-authorities"));
    trust.home.write(&trusting.replace("ca = \"ca.pem\"\n", ""));
    let text = said(&["check"]);
    assert!(text.contains("[no-authorities]") && text.contains("«private-tls» has no `ca`"), "{text}");
}

/// A SIPS URI is not sent on without TLS, whatever the rule says.
#[test]
fn sips_is_never_downgraded() {
    scene("[[route]]\nname = \"down\"\nto = \"sip:10.0.0.100:5060\"\n", |world, _, _| {
        let public = public(world);
        let inner = inner(world);
        public.put(&public.request("INVITE", "sips:bob@bob.example"));
        let answer = public.expect("SIP/2.0 480").message;
        assert!(answer.value("Warning").starts_with("380 "), "{answer}");
        inner.0.received_nothing();
    });
}

/// A call to Bob over TLS that is not set up: the caller hears the cause, and the log has these words.
fn refused(world: &World, trust: &Trust, secrets: &Secrets, cause: &str, words: &str) {
    let viaduct = trust.home.start(world);
    let (bob, public) = (showing(world, secrets), public(world));
    public.put(&public.request("INVITE", &bob.uri()));
    let answer = public.expect("SIP/2.0 500").message;
    let warning = answer.value("Warning");
    let is_told = warning.contains("TLS to the next hop failed: ") && warning.contains(&format!("({cause})"));
    assert!(is_told, "{warning}");
    assert_eq!(failures(&viaduct, cause), 1);
    let line = format!("listener private-tls: the connection of {BOB} failed: {words}");
    eventually("the failure is logged", || viaduct.log().contains(&line).then_some(()));
    viaduct.stop();
}

fn failures(viaduct: &Viaduct<'_>, cause: &str) -> u64 {
    viaduct.metrics().sum("viaduct_tls_failures_total", &[("cause", cause)])
}

#[test]
fn nobody_is_called_whose_certificate_does_not_hold() {
    let world = World::new();
    let trust = Trust::new(KEEPING_RELAY);
    let authority = &trust.authority;
    let wrong = "the server's certificate is not for «bob.example» but for «carol.example»";
    refused(&world, &trust, &trust.secrets(&["carol.example"]), "wrong_name", wrong);
    let old = authority.issue_with(&["bob.example"], in_years(2020, 2022));
    let expired = "the peer's certificate expired at 2022-01-01";
    refused(&world, &trust, &Secrets::new(&old, authority), "expired", expired);
    let (other, bob) = (Authority::new("B"), ["bob.example"]);
    let unknown = "the peer's certificate is by nobody in our `ca` file";
    refused(&world, &trust, &Secrets::new(&other.issue(&bob), authority), "unknown_ca", unknown);
    // Whoever asks for our certificate may not like it: over TLS 1.3 that is heard when all is sent.
    let picky = Secrets::asking(&authority.issue(&bob), authority, Some(&other));
    refused(&world, &trust, &picky, "refused", "the peer has ended the connection by the alert");
}

#[test]
fn another_next_hop_stands_in_where_tls_fails() {
    scene(
        "[[route]]\nname = \"either\"\nto = [\"sip:bob.example;transport=tls\", \"sip:10.0.0.100:5060\"]\n",
        |world, trust, viaduct| {
            let _carol = showing(world, &trust.secrets(&["carol.example"]));
            let public = public(world);
            let inner = inner(world);
            call(&public, &inner, true);
            assert_eq!(failures(viaduct, "wrong_name"), 1);
        },
    );
}

/// Where a URI has an address, its certificate is for that, or for what `[tls] names` says.
#[test]
fn an_address_has_a_certificate_of_its_own_or_a_name_by_the_configuration() {
    let world = World::new();
    for (names, more, answered) in [
        (["10.0.0.100"], "", true),
        (["bob.example"], "", false),
        (["bob.example"], "[tls]\nnames = { \"10.0.0.0/24\" = \"bob.example\" }\n", true),
    ] {
        let trust = Trust::new(&format!("{more}{KEEPING_RELAY}"));
        let viaduct = trust.home.start(&world);
        let secrets = trust.secrets(&names);
        let bob = ByStreams::new(&world.private, "bob", "10.0.0.100", BOB, PRIVATE, Some(&secrets));
        let public = public(&world);
        if answered {
            call(&public, &bob, false);
        } else {
            public.put(&public.request("INVITE", &bob.uri()));
            assert!(public.expect("SIP/2.0 500").message.value("Warning").contains("wrong_name"));
        }
        viaduct.stop();
    }
}

#[test]
fn who_has_to_show_a_certificate_and_has_none_is_not_let_in() {
    let world = World::new();
    let trust = Trust::new(KEEPING_RELAY);
    let ask = "name = \"public-tls\"\nclient_certificates = \"required\"";
    trust.home.write(&format!("{LISTENERS}{}{KEEPING_RELAY}", TLS.replace("name = \"public-tls\"", ask)));
    let viaduct = trust.home.start(&world);
    let inner = inner(&world);
    call(&alice(&world, &trust), &inner, true);
    let nameless = trust.secrets(&["alice.example"]).without_certificate(&trust.authority);
    let unknown =
        ByStreams::new(&world.public, "eve", "eve.example", "1.2.3.100:5071", PUBLIC, Some(&nameless));
    unknown.put(&unknown.request("INVITE", &inner.uri()));
    eventually("the client is refused", || (failures(&viaduct, "no_certificate") == 1).then_some(()));
    inner.0.received_nothing();
    viaduct.stop();
}

/// Whom a server was verified by counts no more once `ca` has changed.
#[test]
fn a_server_by_an_authority_that_is_trusted_no_more_is_not_called_by_the_connection_that_it_has() {
    scene(KEEPING_RELAY, |world, trust, viaduct| {
        let bob = bob(world, trust);
        let public = public(world);
        call(&public, &bob, true);
        let before = viaduct.generation();
        trust.home.put("ca.pem", &Authority::new("B").pem());
        viaduct.newer_than(before);
        public.put(&public.request("INVITE", &bob.uri()));
        let answer = public.expect("SIP/2.0 500").message;
        assert!(answer.value("Warning").contains("(unknown_ca)"), "{answer}");
    });
}

/// A certificate that is replaced is shown from then on, and what is open stays open.
#[test]
fn a_certificate_changes_while_calls_go_on() {
    scene(KEEPING_RELAY, |world, trust, viaduct| {
        let (alice, inner) = (alice(world, trust), inner(world));
        call(&alice, &inner, true);
        let before = viaduct.generation();
        trust.show(&trust.authority.issue(&["new.example"]));
        eventually("the new certificate is in use", || {
            viaduct.log().contains("listener public-tls has new certificates").then_some(())
        });
        viaduct.newer_than(before);
        call(&alice, &inner, true);
        // Who connects anew gets the new one.
        let (edge, secrets) = (("1.2.3.4:5061", "new.example"), trust.secrets(&["alice.example"]));
        let later =
            ByStreams::new(&world.public, "later", "alice.example", "1.2.3.100:5071", edge, Some(&secrets));
        later.put(&later.request("OPTIONS", "sip:1.2.3.4"));
        later.expect("SIP/2.0 200");
        assert_eq!(failures(viaduct, "refused"), 0);
    });
}

/// A caller over TLS whose connection is lost before it is answered; gives the request as it came to the callee.
fn ask_and_lose(viaduct: &Viaduct<'_>, caller: &ByStreams<'_>, callee: &dyn Phone) -> Taken {
    let count = || viaduct.metrics().sum("viaduct_connections_ended_total", &[("how", "broken")]);
    let before = count();
    caller.put(&caller.request("INVITE", &callee.uri()));
    let received = callee.expect("INVITE ");
    caller.lose_connection();
    eventually("the connection is lost", || (count() > before).then_some(()));
    received
}

/// RFC 3261 §18.2.2: "If that connection is no longer open, the server SHOULD open a connection to the IP address in the "received"
/// parameter, if present, using the port in the "sent-by" value".
#[test]
fn an_answer_whose_connection_is_gone_goes_to_whom_the_via_names_and_to_nobody_else() {
    scene(KEEPING_RELAY, |world, trust, viaduct| {
        let inner = inner(world);
        let secrets = |name: &str| trust.secrets(&[name]);
        let alice = |host: &str, address: &str, secrets: &Secrets| {
            ByStreams::new(&world.public, "alice", host, address, PUBLIC, Some(secrets))
        };
        let own = alice("alice.example", "1.2.3.100:5061", &secrets("alice.example"));
        let received = ask_and_lose(viaduct, &own, &inner);
        inner.answer(&received, "180 Ringing");
        own.expect("SIP/2.0 180");
        inner.answer(&received, "200 OK");
        let mut here = Dialog::of_caller(&own.expect("SIP/2.0 200").message);
        own.put(&here.request(&own, "ACK"));
        inner.expect("ACK ");
        within(&own, here, &inner, "BYE");

        let other = alice("alice.example", "1.2.3.100:5071", &secrets("mallory.example"));
        let received = ask_and_lose(viaduct, &other, &inner);
        inner.answer(&received, "180 Ringing");
        eventually("it is not her", || (failures(viaduct, "wrong_name") == 1).then_some(()));
        let line = "listener public-tls: the connection of 1.2.3.100:5071 failed: the server's certificate is not for \
        «alice.example» but for «mallory.example»";
        eventually("the failure is logged", || viaduct.log().contains(line).then_some(()));
        // No certificate is for such a host.
        let long = format!("{}.example", "a".repeat(64));
        let nobody = alice(&long, "1.2.3.100:5081", &secrets("alice.example"));
        let received = ask_and_lose(viaduct, &nobody, &inner);
        inner.answer(&received, "180 Ringing");
        eventually("it is nobody", || (failures(viaduct, "no_name") == 1).then_some(()));
        assert_eq!(viaduct.metrics().sum("viaduct_dropped_total", &[("reason", "connection_failed")]), 2);
    });
}

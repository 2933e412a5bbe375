//! Between TCP and UDP: what stands in Via and Record-Route, what is kept, and where answers go.

use super::world::{Became, World, masked, response};
use crate::rules::Mode;
use crate::transaction::What;

const CONFIGURATION: &str = r#"
[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"
tcp = true

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"

[[listener]]
name = "private-tcp"
bind = "tcp:10.0.0.4:5070"

[[route]]
name = "all"
to = "request-uri"
"#;

const INVITE: &str = "INVITE sip:bob@192.0.2.9 SIP/2.0
Via: SIP/2.0/TCP 10.0.0.50:5061;branch=z9hG4bK74bf9
Max-Forwards: 70
From: Alice <sip:alice@10.0.0.50>;tag=a
To: Bob <sip:bob@192.0.2.9>
Call-ID: 1@10.0.0.50
CSeq: 1 INVITE
Contact: <sip:alice@10.0.0.50>

";

const BOB: &str = "192.0.2.9:5060";

fn world() -> World {
    World::keeping(CONFIGURATION, 0, 1)
}

#[test]
fn a_request_says_of_each_side_what_it_is_and_has_its_length() {
    let request = INVITE.replace("bob@192.0.2.9 SIP", "bob@192.0.2.9;transport=tcp SIP");
    let text = world().forwarded("private", "10.0.0.50:5061", &request, "public/tcp", BOB);
    let text = masked(&text);
    let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("Max")).collect();
    assert_eq!(
        lines[1..3],
        [
            "Record-Route: <sip:TOKEN@203.0.113.10:5060;transport=tcp;lr>",
            "Record-Route: <sip:TOKEN@10.0.0.4:5060;transport=udp;lr>",
        ]
    );
    assert!(lines[3].starts_with("Via: SIP/2.0/TCP 203.0.113.10:5060;rport;branch=z9hG4bK"), "{}", lines[3]);
    assert_eq!(lines[4..], ["Content-Length: 0", "Via: SIP/2.0/TCP 10.0.0.50:5061;branch=z9hG4bK74bf9"]);
}

/// RFC 3261 §18.2.2: "the response MUST be sent using the existing connection to the source of the original request
/// […]. If that connection is no longer open, the server SHOULD open a connection to the IP address in the "received"
/// parameter, if present, using the port in the "sent-by" value".
#[test]
fn what_comes_by_a_stream_is_kept_towards_udp_and_answered_by_its_stream() {
    for rport in ["", ";rport"] {
        let configuration = CONFIGURATION.replace(
            "to = \"request-uri\"",
            "to = \"request-uri\"\nmode = \"stateless\"\negress = { transport = \"udp\", address = \"203.0.113.10\", port = 5060 }\n\
             when = { method = [\"INVITE\"], transport = [\"udp\"] }\n[[route]]\nto = \"request-uri\"",
        );
        let mut world = World::keeping(&configuration, 0, 1);
        let request = INVITE.replace(";branch=z9", &format!("{rport};branch=z9"));
        let source = "10.0.0.50:40001";
        let Became::Forward { decision, text, .. } = world.receive("private-tcp", source, &request) else {
            panic!("not forwarded")
        };
        assert_eq!(decision.mode, Mode::Stateful);
        assert!(text.contains("Via: SIP/2.0/UDP 203.0.113.10:5060;"), "{text}");
        // UDP loses: what is not answered is sent again, on its side alone.
        let again = world.pass(600);
        assert_eq!(
            again.iter().map(|sent| sent.what).collect::<Vec<_>>(),
            [What::Trying, What::RequestAgain]
        );
        let busy = response(&text, "486 Busy Here", "b").replace("Content-Length: 0\n", "");
        let back = world.relayed("public", BOB, &busy, "private-tcp", "10.0.0.50:5061");
        assert!(back.contains("\nContent-Length: 0\n"), "{back}");
        // §17.2.1: Timer G is none over TCP, and H waits for the ACK.
        let sent = world.pass(31_000);
        assert!(sent.iter().all(|sent| sent.what == What::Ack), "{sent:?}");
    }
}

#[test]
fn what_goes_on_by_a_stream_is_sent_once() {
    let mut world = world();
    let request = INVITE.replace("bob@192.0.2.9 SIP", "bob@192.0.2.9;transport=tcp SIP");
    let text = world.forwarded("private", "10.0.0.50:5061", &request, "public/tcp", BOB);
    let sent = world.pass(33_000);
    let what: Vec<What> = sent.iter().map(|sent| sent.what).collect();
    assert!(!what.contains(&What::RequestAgain) && what.contains(&What::Final), "{what:?}");
    assert!(text.contains("Via: SIP/2.0/TCP 203.0.113.10:5060;"));
}

#[test]
fn a_dialog_goes_on_by_its_own_transports() {
    let mut world = world();
    let request = INVITE.replace("bob@192.0.2.9 SIP", "bob@192.0.2.9;transport=tcp SIP");
    let text = world.forwarded("private", "10.0.0.50:5061", &request, "public/tcp", BOB);
    let routes: String = text
        .lines()
        .filter(|line| line.starts_with("Record-Route"))
        .rev()
        .fold(String::new(), |routes, line| routes + &line.replace("Record-Route", "Route") + "\n");
    let bye = request.replace("INVITE", "BYE").replace("74bf9", "75").replace(";transport=tcp", "");
    let bye = bye
        .replace("<sip:bob@192.0.2.9>", "<sip:bob@192.0.2.9>;tag=b")
        .replace("Max", &format!("{routes}Max"));
    // The remote target says nothing: the dialog's listener decides.
    world.forwarded("private", "10.0.0.50:5061", &bye, "public/tcp", BOB);
}

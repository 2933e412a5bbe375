//! What is written from beginning to end, held against what a list of edits makes of it: a request whose Max-Forwards stands
//! above its Via is written by that.

use super::forwarding::INVITE;
use super::world::{Became, World, header, headers, wire};

/// Where Max-Forwards stands in [`INVITE`].
const LINE: &str = "Max-Forwards: 70\n";
/// Who sends it.
const CALLER: (&str, &str) = ("private", "10.0.0.50:5060");
const VIA: &str = "Via: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9";

#[track_caller]
fn written((on, from): (&str, &str), bytes: &[u8]) -> String {
    match World::new().receive_bytes(on, from, bytes) {
        Became::Forward { text, .. } => text,
        other => panic!("not forwarded: {other:?}"),
    }
}

/// All but Max-Forwards, and its value.
fn without_max_forwards(text: &str) -> (String, String) {
    let value = header(text, "Max-Forwards").to_owned();
    (text.replace(&format!("Max-Forwards: {value}\n"), ""), value)
}

/// Both ways write the same, whatever stands before and behind the message.
#[track_caller]
fn hold(from: (&str, &str), text: &str) -> String {
    let max_forwards = text.lines().find(|line| line.starts_with("Max-Forwards")).unwrap().to_owned() + "\n";
    let first = text.find('\n').unwrap() + 1;
    let mut above = text.replace(&max_forwards, "");
    above.insert_str(first, &max_forwards);
    let usual = written(from, wire(text).as_bytes());
    let edited = written(from, wire(&above).as_bytes());
    assert_eq!(without_max_forwards(&usual), without_max_forwards(&edited), "{text}");
    let framed = written(from, format!("\r\n\r\n{}and more", wire(text)).as_bytes());
    assert_eq!(framed, usual);
    usual
}

#[test]
fn both_ways_write_the_same() {
    let vias = [
        VIA.to_owned(),
        format!("{VIA};rport"),
        format!("{VIA};x=1;rport"),
        format!("{VIA};rport;x=1"),
        format!("{VIA};rport=7"),
        format!("{VIA};received=192.0.2.200;rport"),
        format!("{VIA};rport  "),
        format!("{VIA};rport, SIP/2.0/UDP 192.0.2.77;branch=z9hG4bK2"),
        format!("{VIA};rport\nVia: SIP/2.0/UDP 192.0.2.77;branch=z9hG4bK2"),
        VIA.replace("Via: ", "v :\t ") + "\n ;rport",
        VIA.replace("10.0.0.50:5060", "desk.example"),
        VIA.replace("10.0.0.50:5060", "desk.example") + ";rport",
    ];
    let uris = ["", ";user=phone", ";user=phone;transport=udp", ";method=INVITE", ";m=1"];
    let body = INVITE.replace("Length: 0\n\n", "Length: 5\n\nv=0\n");
    for (via, uri) in vias.iter().flat_map(|via| uris.map(|uri| (via, uri))) {
        let text = body.replace(VIA, via).replace("192.0.2.9 SIP", &format!("192.0.2.9{uri} SIP"));
        for from in [
            ("private", "10.0.0.50:5060"),
            ("private", "10.0.0.50:65535"),
            ("private", "10.0.0.200:7"),
            ("six", "[2001:db8:1::50]:5060"),
            ("six", "[2001:db8:1:2:3:4:5:6]:65535"),
        ] {
            let text = hold(from, &text);
            assert!(text.ends_with("Content-Length: 5\n\nv=0\n"), "{text}");
        }
    }
}

#[test]
fn max_forwards_goes_down_by_one_wherever_it_stands() {
    for value in ["1", "9", "10", "11", "70", "70 ", "99", "100", "101", "255", "070"] {
        let text = INVITE.replace(LINE, &format!("Max-Forwards: {value}\n"));
        let less = value.trim().parse::<u32>().unwrap() - 1;
        let last = format!("Max-Forwards: {value}\nContent-Length");
        for text in [&text, &INVITE.replace(LINE, "").replace("Content-Length", &last)] {
            let text = written(CALLER, wire(text).as_bytes());
            let values: Vec<_> = headers(&text, "Max-Forwards").map(str::trim).collect();
            assert_eq!(values, [less.to_string()], "{text}");
        }
    }
}

#[test]
fn the_routes_of_a_dialog_go_wherever_they_stand() {
    let invite = written(CALLER, wire(INVITE).as_bytes());
    let [far, near] = &headers(&invite, "Record-Route").collect::<Vec<_>>()[..] else { panic!("{invite}") };
    let bye = "BYE sip:alice@10.0.0.50 SIP/2.0
{a}Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKbye;rport
{b}Max-Forwards: 70
{c}From: <sip:bob@192.0.2.9>;tag=b
{d}To: <sip:alice@10.0.0.50>;tag=9fxced76sl
Call-ID: 3848276298220188511@10.0.0.50
CSeq: 2 BYE
{e}Content-Length: 0

";
    let (first, second) = (format!("Route: {far}\n"), format!("Route: {near}\n"));
    let (both, one) = (format!("{first}{second}"), format!("Route: {far}, {near}\n"));
    let further = format!("{both}Route: <sip:10.0.0.9;lr>\n");
    for routes in [&both, &one, &further] {
        for place in ["{a}", "{b}", "{c}", "{d}", "{e}"] {
            let text = ["{a}", "{b}", "{c}", "{d}", "{e}"]
                .iter()
                .fold(bye.to_owned(), |text, at| text.replace(at, if *at == place { routes } else { "" }));
            let text = hold(("public", "192.0.2.9:5060"), &text);
            assert_eq!(headers(&text, "Route").count(), usize::from(*routes == further), "{text}");
        }
    }
    let apart = bye.replace("{a}", "").replace("{b}", &first).replace("{c}", "").replace("{d}", &second);
    let text = hold(("public", "192.0.2.9:5060"), &apart.replace("{e}", ""));
    assert!(!text.contains("\nRoute:"), "{text}");
}

/// The output has room for all of it, or nothing goes out.
#[test]
fn what_does_not_fit_is_refused() {
    let mut world = World::new();
    let whole = written(CALLER, wire(INVITE).as_bytes()).replace('\n', "\r\n").len();
    for room in [0, 10, 100, 300, 500, whole - 1] {
        world.out.truncate(room.max(1));
        let became = world.receive("private", "10.0.0.50:5060", INVITE);
        assert!(!matches!(became, Became::Forward { .. }), "{room}: {became:?}");
        world.out = vec![0; 10_000];
    }
    world.out = vec![0; whole];
    assert!(matches!(world.receive("private", "10.0.0.50:5060", INVITE), Became::Forward { .. }));
}

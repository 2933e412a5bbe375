//! Any datagram where a rule changes whatever it can: what goes on says what was asked for, and nothing besides.

use std::cell::RefCell;

use sip_parser::{HeaderLine, HeaderName, Message, NameAddr, Start, Uri, parse};
use viaduct::limits::MESSAGE_BYTES;
use viaduct::proxy::{Incoming, Outcome};
use viaduct::snapshot::Snapshot;

use crate::host::{self, Shard};
use crate::support;

/// Everything that a rule can change, by what a request shows.
const RULE: &str = r#"
[[route]]
name = "changes"
when = { ruri_user = '(?s)^(.)?(.*)$', from_user = '(?s)(.+)', to_user = '(?s)^(.*)$' }
to = "sip:10.0.0.100:5060"

[route.set]
ruri_user = "7$1.$2"
ruri_host = "[2001:db8::9]:5070"
from = { display = "${from_user}" }
to = { display = "\"$2\\" }
p_asserted_identity = { user = "1${to_user.1}", host = "identity.example", display = "$2" }
diversion = { host = "10.0.0.4" }
header = { X-Shown = "<sip:$2@h>;a=x${from_user.1}", Subject = "${to_user}" }
add = { X-Added = "1", Record = "2" }
remove = ["Allow", "X-Gone"]

[[route]]
name = "others"
to = "sip:10.0.0.100:5060"
set = { strip = 1, prefix = "%2B", header = { Subject = "fixed" } }
"#;

/// What is written by every proxy.
const OURS: [HeaderName; 4] =
    [HeaderName::Via, HeaderName::RecordRoute, HeaderName::Route, HeaderName::MaxForwards];

/// What the rules change.
const CHANGED: [&str; 11] = [
    "from",
    "f",
    "to",
    "t",
    "p-asserted-identity",
    "diversion",
    "x-shown",
    "subject",
    "s",
    "x-added",
    "record",
];
const REMOVED: [&str; 2] = ["allow", "x-gone"];

thread_local! {
    static CHANGER: RefCell<Changer> = RefCell::new(Changer::new());
}

struct Changer {
    snapshot: Snapshot,
    shard: Shard,
    out: Vec<u8>,
}

impl Changer {
    fn new() -> Self {
        let (head, _) = host::CONFIGURATION.split_once("[[route]]").expect("routes");
        let snapshot = support::snapshot(&format!("{head}{RULE}"), host::ADDRESSES, host::GATEWAYS);
        let shard = Shard::new(1, &snapshot);
        Self { snapshot, shard, out: vec![0; MESSAGE_BYTES] }
    }

    fn handle(&mut self, incoming: &Incoming<'_>) -> (Outcome, Vec<u8>) {
        let outcome = self.shard.handle(&self.snapshot, incoming, &mut self.out);
        let len = if let Outcome::Forward { len, .. } = outcome { len } else { 0 };
        (outcome, self.out[..len].to_vec())
    }
}

/// Feeds `data` to the host at each of its listeners. Panics where something does not hold that always should.
pub fn run(data: &[u8]) {
    CHANGER.with_borrow_mut(|changer| {
        for (listener, source) in host::PLACES {
            changer.shard.forget(&changer.snapshot);
            let on = changer.snapshot.plan.listener_named(listener).expect("it is configured").id;
            let incoming = Incoming::datagram(data, on, source.parse().expect("an address"));
            let (outcome, sent) = changer.handle(&incoming);
            if matches!(outcome, Outcome::Forward { .. }) {
                assert_eq!(changer.handle(&incoming).1, sent, "what came again");
                changed(data, &sent);
            }
        }
    });
}

fn changed(received: &[u8], sent: &[u8]) {
    let (mut lines, mut more) = ([HeaderLine::EMPTY; 200], [HeaderLine::EMPTY; 200]);
    let received = parse(received, &mut lines).expect("it was understood");
    let sent = parse(sent, &mut more).expect("what goes out parses");
    assert_eq!((received.defect(), sent.defect()), (None, None));
    assert_eq!(sent.text(sent.body()), received.text(received.body()));
    let in_dialog = NameAddr::parse(received.value(HeaderName::To)).expect("a To").tag().is_some();
    assert_eq!(others(&sent, in_dialog), others(&received, in_dialog));
    if in_dialog {
        return;
    }
    for name in ["x-gone", "allow"] {
        assert_eq!(sent.named(name.as_bytes()).count(), 0);
    }
    for name in ["x-shown", "subject"] {
        assert!(sent.named(name.as_bytes()).count() <= 1);
    }
    for name in [HeaderName::From, HeaderName::To] {
        let [before, after] =
            [&received, &sent].map(|message| NameAddr::parse(message.value(name)).expect("an address"));
        assert_eq!((after.uri.text(), after.tag()), (before.uri.text(), before.tag()));
    }
    for name in [&b"p-asserted-identity"[..], b"diversion"] {
        let count = |message: &Message<'_>| {
            let values = message.named(name).flat_map(|line| message.values_in(line));
            values
                .map(|value| value.is_ok_and(|value| NameAddr::parse(value.text).is_ok()))
                .collect::<Vec<_>>()
        };
        assert_eq!(count(&sent), count(&received));
    }
    let Start::Request(line) = sent.start() else { panic!("a request is a request") };
    Uri::request(sent.text(line.uri)).expect("a Request-URI");
}

/// All lines that no rule changes, in order.
fn others(message: &Message<'_>, in_dialog: bool) -> Vec<String> {
    let is_other = |line: &&HeaderLine| {
        let name = String::from_utf8_lossy(message.text(line.key())).to_ascii_lowercase();
        let changed = CHANGED.iter().chain(&REMOVED).any(|changed| *changed == name);
        !OURS.contains(&line.name) && (in_dialog || !changed)
    };
    let lines = message.lines().iter().filter(is_other);
    lines.map(|line| message.text(line.line).escape_ascii().to_string()).collect()
}

//! The torture messages of RFC 4475 and RFC 5118, each with what a forwarder has to do with it.
//!
//! The messages and the index are not part of this repository. `VIADUCT_CONFORMANCE_DIR` names their
//! folder; the default is `../shared/conformance` beside the workspace. Where it is absent the test says
//! SKIPPED.

#[allow(dead_code)] // Names of tests are for others.
#[path = "support/conformance.rs"]
mod lists;
mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use sip_parser::HeaderLine;
use support::Shard;
use viaduct::limits::HEADER_LINES;
use viaduct::net::Now;
use viaduct::proxy::Outcome;
use viaduct::stream::{Broken, Frame, Framer};

const CONFIGURATION: &str = r#"
[[listener]]
name = "four"
bind = "udp:192.0.2.254:5060"

[[listener]]
name = "six"
bind = "udp:[2001:db8::fe]:5060"

# The strict route of mpart01 leads to the loopback device.
[[listener]]
name = "loop"
bind = "udp:127.0.0.1:5060"

[hosts]
"example.com" = ["203.0.113.10"]
"example.net" = ["203.0.113.11"]
"example.org" = ["203.0.113.12"]
"company.com" = ["203.0.113.13"]
"services.example.com" = ["203.0.113.20"]
"chair-dnrc.example.com" = ["203.0.113.21"]
"registrar.example.com" = ["203.0.113.22"]
"host.example.net" = ["203.0.113.23"]

[[route]]
name = "relay"
to = "request-uri"
mode = "stateless"
"#;

/// What may be done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Forward,
    Drop,
    Status(u16),
}

impl Verdict {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Forward { .. } | Outcome::Relay { .. } => Self::Forward,
            Outcome::Answer { status, .. } => Self::Status(*status),
            Outcome::HandOver(_) | Outcome::Drop(_) => Self::Drop,
        }
    }
}

/// A row of the index.
struct Row {
    file: String,
    transport: String,
    expected: String,
    tolerated: String,
    must_not: String,
}

/// How a response is presented: as it is, or below a Via that this proxy wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Raw,
    Spliced,
}

impl Row {
    fn read(index: &str) -> Vec<Self> {
        let mut lines = index.lines();
        let names: Vec<&str> = lines.next().expect("a head line").split('\t').collect();
        let column: HashMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
        lines
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let cells: Vec<&str> = line.split('\t').collect();
                let cell = |name: &str| cells[column[name]].trim().to_string();
                Self {
                    file: cell("file"),
                    transport: cell("transport"),
                    expected: cell("expected(forwarder)"),
                    tolerated: cell("tolerated"),
                    must_not: cell("must_not"),
                }
            })
            .collect()
    }

    /// Short name: the file's without folder and ending.
    fn name(&self) -> &str {
        let name = self.file.rsplit('/').next().unwrap_or(&self.file);
        name.trim_end_matches(".dat").trim_end_matches(".crlf")
    }

    /// As published with LF alone: "400/drop/accept all defensible".
    fn lf_only(&self) -> bool {
        self.expected.contains("published file is LF-only")
    }

    fn expected(&self, form: Form) -> Vec<Verdict> {
        if self.lf_only() {
            return vec![Verdict::Forward, Verdict::Drop, Verdict::Status(400)];
        }
        let text = match (form, self.expected.split_once(';')) {
            (Form::Raw, Some((raw, _))) if raw.contains("raw") => raw,
            (Form::Spliced, Some((_, spliced))) if spliced.contains("spliced") => spliced,
            _ => &self.expected,
        };
        let text = text.trim();
        if text.starts_with("FWD") {
            vec![Verdict::Forward]
        } else if text.starts_with("DROP") || text.starts_with("absorb") {
            vec![Verdict::Drop]
        } else {
            let status = text.get(..3).and_then(|digits| digits.parse().ok());
            vec![Verdict::Status(status.unwrap_or_else(|| panic!("{}: `{text}`?", self.file)))]
        }
    }

    fn tolerated(&self, form: Form) -> Vec<Verdict> {
        let text = self.tolerated.as_str();
        let mut verdicts = Vec::new();
        if text.starts_with("drop") {
            verdicts.push(Verdict::Drop);
        }
        if text.starts_with("FWD") || (form == Form::Spliced && text == "stateless mode forwards it") {
            verdicts.push(Verdict::Forward);
        }
        // Only a bare status: "404 only if P owns …" and "registrar: 200 …" speak of other roles.
        match text.split_once(' ').map_or((text, ""), |(head, rest)| (head, rest)) {
            (status, rest) if !rest.contains("if") && !rest.contains("above") => {
                verdicts.extend(status.parse().ok().map(Verdict::Status));
            }
            _ => {}
        }
        verdicts
    }
}

/// What a run of all rows found.
#[derive(Default)]
struct Report {
    table: String,
    wrong: Vec<String>,
    checks: usize,
    tolerated: usize,
}

#[test]
fn torture_messages_are_handled_as_the_index_says() {
    let Some(index) = lists::text("index.tsv") else { return };
    let (folder, rows) = (lists::folder(), Row::read(&index));
    let mut report = Report::default();
    for row in &rows {
        check(&folder, row, &mut report);
    }
    let summary = format!(
        "\n{}conformance: {} messages, {} checks, {} answered in a tolerated way, {} wrong\n",
        report.table,
        rows.len(),
        report.checks,
        report.tolerated,
        report.wrong.len()
    );
    lists::say(&summary);
    assert!(rows.len() > 60, "the index has shrunk: {} rows", rows.len());
    assert!(report.wrong.is_empty(), "\n{}", report.wrong.join("\n"));
}

/// What a stream of these pieces holds.
fn framed(pieces: &[&[u8]]) -> Vec<(Option<Broken>, Vec<u8>)> {
    let (mut framer, mut all) = (Framer::default(), Vec::new());
    let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
    for piece in pieces {
        let mut input = *piece;
        while let Some(frame) = framer.next(&mut input, &mut lines, Now(0)) {
            match frame {
                Frame::Ping => {}
                Frame::Message(message) => all.push((None, message.bytes().to_vec())),
                Frame::Broken(why, head) => all.push((Some(why), head.to_vec())),
            }
        }
    }
    all
}

/// The same messages on a stream, cut at every byte and behind each other: they come out as they came out whole, and as
/// the index has them where they can be framed.
#[test]
fn torture_messages_come_out_of_a_stream_wherever_it_is_cut() {
    let Some(index) = lists::text("index.tsv") else { return };
    let (mut whole, mut broken) = (0, 0);
    for row in Row::read(&index) {
        let path = lists::folder().join(&row.file);
        let path = if path.is_file() { path } else { lists::folder().join(format!("{}.dat", row.file)) };
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let expected = framed(&[&bytes]);
        for cut in 0..bytes.len() {
            let (one, other) = bytes.split_at(cut);
            assert!(framed(&[one, other]) == expected, "{}, cut at {cut}", row.name());
        }
        match &expected[..] {
            [(None, first), ..] => {
                whole += 1;
                assert!(bytes.windows(first.len()).any(|part| part == first), "{}", row.name());
                // Sound messages may follow each other.
                let twice = framed(&[first, first]);
                assert_eq!((twice.len(), &twice[0], &twice[1]), (2, &expected[0], &expected[0]));
            }
            [(Some(_), _), ..] => broken += 1,
            [] => {}
        }
    }
    assert!(whole > 30 && broken > 3, "{whole} whole, {broken} broken");
}

fn check(folder: &Path, row: &Row, report: &mut Report) {
    let path = row.file.clone();
    let path = if folder.join(&path).is_file() { path } else { format!("{path}.dat") };
    let bytes = fs::read(folder.join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let forms: &[Form] = if bytes.starts_with(b"SIP/") { &[Form::Raw, Form::Spliced] } else { &[Form::Raw] };
    for form in forms {
        let mut shard = shard();
        let (listener, source) = ingress(row);
        let on = shard.listener(listener);
        let (input, from) = match form {
            Form::Raw => (bytes.clone(), source),
            Form::Spliced => (splice(&mut shard, &bytes, row), source),
        };
        let (outcome, output) = shard.handle(&input, on, from);
        let output = output.to_vec();
        judge(row, *form, &input, &outcome, &output, report);
    }
}

fn judge(row: &Row, form: Form, input: &[u8], outcome: &Outcome, output: &[u8], report: &mut Report) {
    let got = Verdict::of(outcome);
    let (expected, tolerated) = (row.expected(form), row.tolerated(form));
    let grade = if expected.contains(&got) {
        "as expected"
    } else if tolerated.contains(&got) {
        report.tolerated += 1;
        "tolerated"
    } else {
        "WRONG"
    };
    let label = if form == Form::Spliced { format!("{} (spliced)", row.file) } else { row.file.clone() };
    writeln!(report.table, "{label:48} {:24} {grade}", describe(outcome)).expect("a String grows");
    report.checks += 1;
    let mut wrong = Vec::new();
    if grade == "WRONG" {
        wrong.push(format!("got {}, expected {expected:?}, tolerated {tolerated:?}", describe(outcome)));
    }
    let never_forwarded = row.must_not.split(';').any(|part| part.trim() == "forward");
    if never_forwarded && got == Verdict::Forward && !tolerated.contains(&got) {
        wrong.push("must not be forwarded".into());
    }
    match outcome {
        Outcome::Forward { .. } if !row.lf_only() => wrong.extend(forwarded(row, input, output)),
        Outcome::Answer { .. } => wrong.extend(answered(row, output)),
        _ => {}
    }
    if let Err(message) = special(row, outcome, output) {
        wrong.push(message);
    }
    report.wrong.extend(wrong.into_iter().map(|message| format!("{label}: {message}")));
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Forward { decision, .. } => format!("forward {}", decision.next_hop.address),
        Outcome::Relay { to, .. } => format!("relay {to}"),
        Outcome::Answer { status, .. } => format!("{status}"),
        Outcome::HandOver(owner) => format!("handed over to {owner}"),
        Outcome::Drop(reason) => format!("drop {}", reason.label()),
    }
}

/// What holds for every forwarded request: headers that are none of the proxy's business, and the body,
/// go through byte for byte and in order.
fn forwarded(row: &Row, input: &[u8], output: &[u8]) -> Vec<String> {
    let (before, after) = (Parts::of(input), Parts::of(output));
    let mut wrong = Vec::new();
    let theirs: Vec<&[u8]> = before.others().collect();
    let ours: Vec<&[u8]> = after.others().collect();
    if theirs != ours {
        let lost = theirs.iter().find(|line| !ours.contains(line));
        wrong.push(format!(
            "header lines were changed, first: {:?}",
            lost.map(|l| String::from_utf8_lossy(l))
        ));
    }
    let body = before.body_of_announced_length();
    if after.body != body {
        wrong.push(format!("body: {} bytes became {}", body.len(), after.body.len()));
    }
    let vias = before.vias();
    let kept = after.vias();
    if kept.len() != vias.len() + 1 || kept[2..] != vias[1..] {
        wrong.push(format!("Via values: {vias:?} became {kept:?}"));
    }
    if before.start != after.start && row.name() != "mpart01" {
        wrong.push(format!("start line became {:?}", String::from_utf8_lossy(after.start)));
    }
    wrong
}

/// What holds for every answer of our own.
fn answered(row: &Row, output: &[u8]) -> Vec<String> {
    let parts = Parts::of(output);
    let mut wrong = Vec::new();
    if !parts.start.starts_with(b"SIP/2.0 ") {
        wrong.push(format!("answer begins {:?}", String::from_utf8_lossy(parts.start)));
    }
    if row.name() != "insuf" && row.name() != "multi01" {
        for name in ["via", "from", "to", "call-id", "cseq"] {
            if parts.named(name).count() == 0 {
                wrong.push(format!("answer lacks {name}"));
            }
        }
    }
    wrong
}

/// What the index asks of single messages.
fn special(row: &Row, outcome: &Outcome, output: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(output);
    let holds = |condition: bool, what: &str| {
        if condition { Ok(()) } else { Err(format!("{what}:\n{text}")) }
    };
    let next_hop = |wanted: &str| match outcome {
        Outcome::Forward { decision, .. } => holds(decision.next_hop.address.to_string() == wanted, wanted),
        _ => Ok(()),
    };
    let parts = Parts::of(output);
    let max_forwards = |wanted: &str| {
        let value = parts.named("max-forwards").next().map(value_of);
        holds(value.as_deref() == Some(wanted), &format!("Max-Forwards {wanted}"))
    };
    if row.lf_only() {
        return Ok(());
    }
    match row.name() {
        "wsinv" => {
            max_forwards("67")?;
            next_hop("203.0.113.20:5060")?;
            holds(parts.named("route").any(|l| l.windows(8).any(|w| w == b"services")), "the Route stays")
        }
        "intmeth" => max_forwards("254"),
        "dblreq" => {
            max_forwards("7")?;
            holds(!text.contains("INVITE"), "nothing of the second message goes out")
        }
        "longreq" => holds(parts.vias().len() == 35, "34 Via values and ours"),
        "esc01" => next_hop("203.0.113.11:5060"),
        "inv2543" => max_forwards("70"),
        "port-ambiguous" => next_hop("[2001:db8::10:5070]:5060"),
        "port-unambiguous" => next_hop("[2001:db8::10]:5070"),
        "mpart01" => {
            let start = text.lines().next().unwrap_or_default();
            holds(start == "MESSAGE sip:127.0.0.1:5080 SIP/2.0", "RFC 3261 §16.6 step 6: strict route")?;
            let routes: Vec<String> = parts.named("route").map(value_of).collect();
            holds(
                routes.iter().any(|route| route.contains("sip:kumiko@example.org")),
                "the old Request-URI is the last Route",
            )?;
            next_hop("127.0.0.1:5080")
        }
        "bext01" => {
            let tags = parts.named("unsupported").map(value_of).collect::<Vec<_>>().join(",");
            holds(
                tags.contains("noProxiesSupportThis")
                    && tags.contains("norDoAnyProxiesSupportThis")
                    && !tags.contains("nothingSupportsThis"),
                "Unsupported names the Proxy-Require tags and no other",
            )
        }
        "escruri" => holds(!text.contains("\r\nRoute:"), "no header comes out of a URI"),
        _ => Ok(()),
    }
}

/// A response below a Via that this proxy wrote when it forwarded a request of the same Via.
fn splice(shard: &mut Shard, response: &[u8], row: &Row) -> Vec<u8> {
    let parts = Parts::of(response);
    let via = parts.vias().first().cloned().expect("a Via");
    // From where the Via says: the proxy adds no `received`, so the response's own Via fits below ours.
    let sent_by = via.split(';').next().and_then(|head| head.split(' ').next_back()).expect("a sent-by");
    let source = format!("{sent_by}:5060").parse().unwrap_or(SocketAddr::from(([192, 0, 2, 129], 5060)));
    let ours = our_via(shard, &via, source);
    let mut spliced = parts.start.to_vec();
    spliced.extend_from_slice(b"\r\nVia: ");
    spliced.extend_from_slice(ours.as_bytes());
    spliced.extend_from_slice(b"\r\n");
    // The second Via of bcast is the one that decides: ours stands in the place of its first.
    let skip_first = row.name() == "bcast";
    let mut skipped = false;
    for field in &parts.fields {
        if skip_first && !skipped && name_of(field) == "via" {
            skipped = true;
            continue;
        }
        spliced.extend_from_slice(field);
        spliced.extend_from_slice(b"\r\n");
    }
    spliced.extend_from_slice(b"\r\n");
    spliced.extend_from_slice(parts.body);
    spliced
}

/// The Via that the proxy puts above this one.
fn our_via(shard: &mut Shard, via: &str, source: SocketAddr) -> String {
    let request = format!(
        "OPTIONS sip:a@203.0.113.9 SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <sip:a@a>;tag=1\r\n\
         To: <sip:b@b>\r\nCall-ID: splice\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    let on = shard.listener("four");
    let (outcome, output) = shard.handle(request.as_bytes(), on, source);
    assert!(matches!(outcome, Outcome::Forward { .. }), "no Via to splice: {outcome:?}");
    Parts::of(output).vias().first().cloned().expect("our Via")
}

/// RFC 4475 §3.3.10: "send to 255.255.255.255" must not happen, nor to any address that is no host's.
#[test]
fn a_response_goes_to_no_address_that_is_no_host() {
    for target in ["255.255.255.255", "224.0.0.1", "0.0.0.0", "127.0.0.1", "192.0.2.254", "192.0.2.255"] {
        let mut shard = shard();
        let ours = our_via(
            &mut shard,
            "SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1",
            "192.0.2.198:5060".parse().unwrap(),
        );
        let response = format!(
            "SIP/2.0 200 OK\r\nVia: {ours}\r\nVia: SIP/2.0/UDP {target};branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
             To: <sip:b@b>;tag=2\r\nCall-ID: splice\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let on = shard.listener("four");
        let (outcome, _) = shard.handle(response.as_bytes(), on, "203.0.113.9:5060".parse().unwrap());
        assert!(matches!(outcome, Outcome::Drop(_)), "{target}: {outcome:?}");
    }
}

/// The spliced form works at all: else every "DROP (spliced)" would be empty.
#[test]
fn a_response_below_our_own_via_goes_back() {
    let mut shard = shard();
    let source = "192.0.2.198:5060".parse().unwrap();
    let ours = our_via(&mut shard, "SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1", source);
    let response = format!(
        "SIP/2.0 200 OK\r\nVia: {ours}\r\nVia: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
         To: <sip:b@b>;tag=2\r\nCall-ID: splice\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    let on = shard.listener("four");
    let (outcome, output) = shard.handle(response.as_bytes(), on, "203.0.113.9:5060".parse().unwrap());
    assert!(matches!(outcome, Outcome::Relay { to, status: 200, .. } if to == source), "{outcome:?}");
    assert_eq!(Parts::of(output).vias().len(), 1);
}

fn shard() -> Shard {
    Shard::new(CONFIGURATION, &["192.0.2.254/24", "2001:db8::fe/64"], &["192.0.2.1", "2001:db8::1"])
}

fn ingress(row: &Row) -> (&'static str, SocketAddr) {
    let (listener, source) = if row.transport.ends_with("v6") {
        ("six", "[2001:db8::9:1]:5060")
    } else {
        ("four", "192.0.2.99:5060")
    };
    (listener, source.parse().expect("an address"))
}

/// A message taken apart by line ends only.
struct Parts<'a> {
    start: &'a [u8],
    /// Header fields, folded lines still together, without the last line end.
    fields: Vec<&'a [u8]>,
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Self {
        let end = find(message, b"\r\n\r\n").unwrap_or(message.len());
        let (head, body) = (&message[..end], message.get(end + 4..).unwrap_or_default());
        let (start, mut rest) = match find(head, b"\r\n") {
            Some(at) => (&head[..at], &head[at + 2..]),
            None => (head, &head[head.len()..]),
        };
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let mut length = find(rest, b"\r\n").unwrap_or(rest.len());
            while matches!(rest.get(length + 2), Some(b' ' | b'\t')) {
                length += 2 + find(&rest[length + 2..], b"\r\n").unwrap_or(rest.len() - length - 2);
            }
            fields.push(&rest[..length]);
            rest = rest.get(length + 2..).unwrap_or_default();
        }
        Self { start, fields, body }
    }

    fn named(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().copied().filter(move |field| name_of(field) == name)
    }

    /// Fields that a forwarding proxy has no business to touch.
    fn others(&self) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().copied().filter(|field| {
            !["via", "max-forwards", "route", "record-route"].contains(&name_of(field).as_str())
        })
    }

    /// All Via values, white space made single.
    fn vias(&self) -> Vec<String> {
        self.named("via").flat_map(|field| split_values(&value_of(field))).collect()
    }

    /// On UDP a body longer than announced is cut (RFC 3261 §18.3).
    fn body_of_announced_length(&self) -> &'a [u8] {
        let announced = self.named("content-length").next().and_then(|field| value_of(field).parse().ok());
        announced.map_or(self.body, |length: usize| &self.body[..length.min(self.body.len())])
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The long, lower-case name of a header field.
fn name_of(field: &[u8]) -> String {
    let name = field.split(|b| *b == b':').next().unwrap_or_default();
    let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
    match name.as_str() {
        "v" => "via".into(),
        "f" => "from".into(),
        "t" => "to".into(),
        "i" => "call-id".into(),
        "l" => "content-length".into(),
        _ => name,
    }
}

fn value_of(field: &[u8]) -> String {
    let at = field.iter().position(|b| *b == b':').map_or(field.len(), |at| at + 1);
    String::from_utf8_lossy(&field[at..]).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A comma list taken apart; commas in quotes stay.
fn split_values(list: &str) -> Vec<String> {
    let mut quoted = false;
    list.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(|value| value.trim().to_string())
    .collect()
}

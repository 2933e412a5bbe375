//! The messages of RFC 4475 and RFC 5118: which of them break a rule of the grammar, and which rule.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sip_parser::{
    CSeq, Error, HeaderLine, HeaderName, NameAddr, Rule, Start, Uri, Via, call_id, max_forwards, parse,
};

fn folder() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    std::env::var_os("VIADUCT_CONFORMANCE_DIR").map_or(default, PathBuf::from)
}

/// Everything that a proxy reads of a message.
fn judge(bytes: &[u8]) -> Result<(), Error> {
    let mut lines = [HeaderLine::EMPTY; 160];
    let message = parse(bytes, &mut lines)?;
    match *message.start() {
        Start::Request(line) => {
            let uri = Uri::parse(message.text(line.uri))?;
            if uri.headers().is_some() {
                return Err(Error { rule: Rule::UriHeaders, at: 0 });
            }
        }
        Start::Response(_) => {}
        Start::BadRequest(_, error) | Start::BadResponse(error) => return Err(error),
    }
    if let Some(error) = message.defect() {
        return Err(error);
    }
    for value in message.values(HeaderName::Via) {
        Via::parse(value?.text)?;
    }
    for name in [HeaderName::Route, HeaderName::RecordRoute] {
        for value in message.values(name) {
            NameAddr::parse(value?.text)?;
        }
    }
    NameAddr::parse(message.value(HeaderName::From))?;
    NameAddr::parse(message.value(HeaderName::To))?;
    CSeq::parse(message.value(HeaderName::CSeq))?;
    call_id(message.value(HeaderName::CallId))?;
    if message.first(HeaderName::MaxForwards).is_some() {
        max_forwards(message.value(HeaderName::MaxForwards))?;
    }
    Ok(())
}

/// What of these messages breaks the grammar; the others have sound syntax.
const BROKEN: &[(&str, Rule)] = &[
    ("badinv01.dat", Rule::Parameter),
    ("clerr.dat", Rule::BodyTooShort),
    ("ncl.dat", Rule::ContentLength),
    ("scalar02.dat", Rule::CSeq),
    ("scalarlg.dat", Rule::CSeq),
    ("quotbal.dat", Rule::Quote),
    ("ltgtruri.dat", Rule::UriCharacter),
    ("lwsruri.dat", Rule::StartLineSpace),
    ("lwsstart.dat", Rule::StartLineSpace),
    ("trws.dat", Rule::StartLineSpace),
    ("escruri.dat", Rule::UriHeaders),
    ("badaspec.dat", Rule::UriCharacter),
    ("baddn.dat", Rule::NoEndOfHeaders),
    ("baddn.crlf.dat", Rule::DisplayName),
    ("badvers.dat", Rule::Version),
    ("bigcode.dat", Rule::StatusCode),
    ("insuf.dat", Rule::EmptyValue),
    ("mcl01.dat", Rule::ContentLengthTwice),
    ("test.dat", Rule::NotSip),
    ("ipv6-bad.crlf.dat", Rule::Ipv6Reference),
];

#[test]
fn torture_messages_break_the_rules_they_are_meant_to_break() {
    let folder = folder();
    if !folder.exists() {
        // Past the test harness's capture: whoever ran the tests has to see it.
        let text = format!("\nSKIPPED: conformance of the parser: no {}\n", folder.display());
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    }
    let mut wrong = Vec::new();
    let mut read = 0;
    for sub in ["rfc4475", "derived"] {
        for entry in fs::read_dir(folder.join(sub)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let expected = BROKEN.iter().find(|(file, _)| *file == name).map(|&(_, rule)| rule);
            let found = judge(&fs::read(&path).unwrap()).err();
            read += 1;
            if found.map(|e| e.rule) != expected {
                wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {read}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(read, 63);
}

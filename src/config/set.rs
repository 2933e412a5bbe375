//! `set`: what a rule changes in the requests that it sends on.

use sip_parser::{HeaderName, Uri};

use super::diagnostic::Findings;
use super::read::{Entry, Section, Text};
use crate::limits::{SET_HEADERS, SET_TEXT_BYTES, USER_BYTES};
use crate::rules::{
    Change, Header, HeaderChange, Parts, Set, Template, UriChange, User, UserChange, When, may_stand_in_user,
};

/// Headers whose values are addresses and belong to nobody's dialog, by their keys.
const IDENTITIES: [(&str, &str); 4] = [
    ("p_asserted_identity", "P-Asserted-Identity"),
    ("p_preferred_identity", "P-Preferred-Identity"),
    ("remote_party_id", "Remote-Party-ID"),
    ("diversion", "Diversion"),
];

/// The two whose display name alone may be changed.
const PARTIES: [(&str, &str); 2] = [("from", "From"), ("to", "To")];

/// `set = { … }` of a rule with these conditions; without them it is not known what they show.
pub(super) fn read(entry: &Entry<'_>, when: Option<&When>, findings: &mut Findings) -> Option<Set> {
    let known = findings.list().len();
    let mut section = entry.section("`set`", findings)?;
    let reader = Reader { when };
    let uri = reader.uri(&mut section, findings);
    let mut headers = Vec::new();
    for (key, name) in PARTIES {
        if let Some(entry) = section.take(key) {
            headers.extend(reader.party(&entry, name, findings));
        }
    }
    for (key, name) in IDENTITIES {
        if let Some(entry) = section.take(key) {
            headers
                .extend(reader.parts(&entry, name, findings).map(|parts| change(name, Change::Parts(parts))));
        }
    }
    reader.named(&mut section, &mut headers, findings);
    section.finish(findings);
    if findings.list().len() > known {
        return None;
    }
    if uri == UriChange::default() && headers.is_empty() {
        findings.error(entry.span.clone(), "`set` changes nothing", "leave it out");
        return None;
    }
    if headers.len() > SET_HEADERS {
        findings.error(
            entry.span.clone(),
            format!("`set` changes more than {SET_HEADERS} headers"),
            "one header may hold several values, with commas between",
        );
        return None;
    }
    let when = when?;
    let patterns = [&when.ruri_user, &when.from_user, &when.to_user].map(Option::as_ref);
    // A pattern that is not sound is told of where it stands.
    Set::new(uri, headers, patterns).ok()
}

fn change(name: &str, change: Change) -> HeaderChange {
    HeaderChange { header: Header::new(name), name: name.into(), change }
}

/// What a text of the configuration is written into.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    User,
    Display,
    Header,
}

struct Reader<'a> {
    when: Option<&'a When>,
}

impl Reader<'_> {
    fn uri(&self, section: &mut Section<'_>, findings: &mut Findings) -> UriChange {
        let whole = section.take("ruri_user");
        let strip = section.take("strip");
        let prefix = section.take("prefix");
        let host = section.take("ruri_host").and_then(|entry| entry.text(findings));
        let host = host.and_then(|text| host_port(&text, findings));
        let user = match (whole, strip, prefix) {
            (Some(whole), None, None) => {
                let template =
                    whole.text(findings).and_then(|text| self.template(&text, Place::User, findings));
                template.map(UserChange::Whole)
            }
            (Some(whole), ..) => {
                findings.error(
                    whole.span,
                    "`ruri_user` says all of the user, so `strip` and `prefix` mean nothing",
                    "write either, or the other two",
                );
                None
            }
            (None, None, None) => None,
            (None, strip, prefix) => self.edges(strip, prefix, findings),
        };
        UriChange { user, host }
    }

    fn edges(
        &self,
        strip: Option<Entry<'_>>,
        prefix: Option<Entry<'_>>,
        findings: &mut Findings,
    ) -> Option<UserChange> {
        let strip = match strip {
            Some(entry) => entry.number(1..USER_BYTES as i64, findings)?,
            None => 0,
        };
        let prefix = match prefix {
            Some(entry) => {
                let text = entry.text(findings)?;
                self.template(&text, Place::User, findings)?;
                if text.text.is_empty() || text.text.contains('$') {
                    let message = "`prefix` is a text of its own, which shows nothing of the request";
                    findings.error(text.span, message, "write ruri_user = \"…$1\" for that");
                    return None;
                }
                text.text
            }
            None => "",
        };
        Some(UserChange::Edges { strip: strip.try_into().ok()?, prefix: prefix.into() })
    }

    /// From or To.
    ///
    /// RFC 3261 §20.20: "the display name and presence or absence of angle brackets do not affect matching". Their
    /// URIs do: §12.2.1.1 keeps them in a dialog "for backwards compatibility with RFC 2543, which used the URI for
    /// dialog identification", and §8.2.6.2 has "The From field of the response MUST equal the From header field of
    /// the request."
    fn party(&self, entry: &Entry<'_>, name: &str, findings: &mut Findings) -> Option<HeaderChange> {
        let mut section = entry.section("`from` or `to` in `set`", findings)?;
        for key in ["user", "host", "uri", "tag"] {
            if let Some(entry) = section.take(key) {
                let message = format!("the {key} of {name} cannot be changed, only its display name");
                let hint = "answers and later requests of the call have to say what the first request said (RFC 3261 \
                            §8.2.6.2, §12.2.1.1); say who calls by p_asserted_identity, who is called by ruri_user";
                findings.error(entry.span, message, hint);
            }
        }
        let display = section
            .need("display", r#""TEXT", or "" to take the display name away"#, findings)
            .and_then(|entry| entry.text(findings));
        section.finish(findings);
        let display = self.template(&display?, Place::Display, findings)?;
        Some(change(name, Change::Parts(Parts { display: Some(display), ..Parts::default() })))
    }

    fn parts(&self, entry: &Entry<'_>, name: &str, findings: &mut Findings) -> Option<Parts> {
        if !entry.is_table() {
            findings.error(
                entry.span.clone(),
                format!("`{}` is a table of `user`, `host` and `display`", entry.key),
                format!("to write all of the header: header = {{ {name} = \"<sip:…>\" }}"),
            );
            return None;
        }
        let mut section = entry.section("an identity in `set`", findings)?;
        let mut template = |key, place, findings: &mut Findings| {
            let text = section.take(key).and_then(|entry| entry.text(findings))?;
            self.template(&text, place, findings)
        };
        let display = template("display", Place::Display, findings);
        let user = template("user", Place::User, findings);
        let host = section.take("host").and_then(|entry| entry.text(findings));
        section.finish(findings);
        let host = host.and_then(|text| host_port(&text, findings));
        let parts = Parts { display, user, host };
        if parts == Parts::default() {
            findings.error(entry.span.clone(), format!("`{}` changes nothing", entry.key), "leave it out");
            return None;
        }
        Some(parts)
    }

    /// `header`, `add` and `remove`.
    fn named(&self, section: &mut Section<'_>, headers: &mut Vec<HeaderChange>, findings: &mut Findings) {
        type Make = fn(Template) -> Change;
        let make: [(&str, Make); 2] = [("header", Change::Is), ("add", Change::Add)];
        for (key, make) in make {
            for (name, entry) in section.take(key).map(|e| e.pairs(findings)).unwrap_or_default() {
                let text = entry.text(findings);
                let value = text.and_then(|text| self.template(&text, Place::Header, findings));
                if let (Some(()), Some(value)) = (may_be_set(&name, headers, findings), value) {
                    headers.push(change(name.text, make(value)));
                }
            }
        }
        for name in section.take("remove").map(|e| e.texts(findings)).unwrap_or_default() {
            if may_be_set(&name, headers, findings).is_some() {
                headers.push(change(name.text, Change::Remove));
            }
        }
    }

    /// A text with what it shows of a request, if it may stand in that place.
    fn template(&self, text: &Text<'_>, place: Place, findings: &mut Findings) -> Option<Template> {
        let mut wrong = |message: String, hint: &str| {
            findings.error(text.span.clone(), message, hint);
            None
        };
        if text.text.len() > SET_TEXT_BYTES {
            return wrong(format!("this is longer than {SET_TEXT_BYTES} bytes"), "write it shorter");
        }
        let template = match Template::read(text.text) {
            Ok(template) => template,
            Err(error) => {
                let message =
                    format!("{}, at character {}", error.message, text.text[..error.at].chars().count() + 1);
                return wrong(
                    message,
                    "$1 to $9 are groups of when.ruri_user, ${from_user.1} of another pattern, ${to_user} is a whole user, $$ a dollar",
                );
            }
        };
        if let Some(illegal) = template.literals().find_map(|literal| illegal(literal, place)) {
            let hint = match place {
                Place::User => "what may not stand in a user is written %XX: # is %23, @ is %40",
                Place::Display | Place::Header => "a header is one line of text",
            };
            return wrong(format!("{illegal:?} may not stand here"), hint);
        }
        let shows = self.when.into_iter().flat_map(|when| template.shows().map(move |shown| (when, shown)));
        for (when, (user, group)) in shows {
            let (key, pattern) = match user {
                User::Ruri => ("ruri_user", &when.ruri_user),
                User::From => ("from_user", &when.from_user),
                User::To => ("to_user", &when.to_user),
            };
            let (Some(group), groups) = (group, pattern.as_ref().map(Set::groups_of)) else { continue };
            match groups {
                // A pattern that is not sound is told of where it stands.
                Some(None) => {}
                Some(Some(groups)) if usize::from(group) <= groups => {}
                Some(Some(groups)) => {
                    let message = format!("there is no group {group}: the pattern of `{key}` has {groups}");
                    return wrong(message, "a group is what stands in parentheses: '^0([1-9][0-9]+)$'");
                }
                None => {
                    let message = format!("group {group} of `{key}`: the rule has no such pattern");
                    return wrong(
                        message,
                        "give the rule's `when` a pattern with parentheses: ruri_user = '^0(.*)$'",
                    );
                }
            }
        }
        Some(template)
    }
}

/// The first character that may not stand in the place.
fn illegal(literal: &str, place: Place) -> Option<char> {
    match place {
        Place::Display | Place::Header => literal.chars().find(|c| c.is_control() && *c != '\t'),
        Place::User => {
            let mut rest = literal.char_indices();
            rest.find_map(|(at, c)| {
                let is_escape = || {
                    let digits = literal.as_bytes().get(at + 1..at + 3);
                    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                };
                let may = u8::try_from(c).is_ok_and(may_stand_in_user) || c == '%' && is_escape();
                (!may).then_some(c)
            })
        }
    }
}

/// Host and port as they are written into a URI.
fn host_port(text: &Text<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let uri = format!("sip:{}", text.text);
    let is_plain =
        |uri: &Uri<'_>| uri.user().is_none() && uri.params().text().is_empty() && uri.headers().is_none();
    if text.text.len() <= SET_TEXT_BYTES
        && !text.text.contains('@')
        && Uri::parse(uri.as_bytes()).is_ok_and(|uri| is_plain(&uri))
    {
        return Some(text.text.into());
    }
    findings.error(
        text.span.clone(),
        format!("«{}» is no host with or without a port", text.text),
        "write carrier.example.net, 192.0.2.1:5070 or [2001:db8::1]",
    );
    None
}

/// The name of a header as requests have it: a token (RFC 3261 §25.1).
pub(super) fn header_name<'d>(name: &Text<'d>, findings: &mut Findings) -> Option<&'d str> {
    let is_token = |c: u8| c.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&c);
    if !name.text.is_empty() && name.text.len() <= SET_TEXT_BYTES && name.text.bytes().all(is_token) {
        return Some(name.text);
    }
    findings.error(
        name.span.clone(),
        format!("«{}» is not the name of a header", name.text),
        "letters, digits and hyphens: X-Trunk",
    );
    None
}

/// Headers that the way of a request, or of its answers, hangs by, and who writes them.
const NEVER: [(HeaderName, &str); 10] = [
    (HeaderName::Via, "answers find their way back by it"),
    (HeaderName::Route, "the request's way is read from it"),
    (HeaderName::RecordRoute, "Viaduct writes its own; see `record_route`"),
    (HeaderName::CallId, "the call is known by it"),
    (HeaderName::CSeq, "the transaction is known by it"),
    (HeaderName::MaxForwards, "it ends loops"),
    (HeaderName::ContentLength, "it says where the message ends"),
    (HeaderName::Contact, "the dialog's later requests go to it"),
    (HeaderName::From, "the dialog is known by it; its display name is `from = { display = … }`"),
    (HeaderName::To, "the dialog is known by it; its display name is `to = { display = … }`"),
];

/// The header may be changed, and is not changed twice.
fn may_be_set(name: &Text<'_>, headers: &[HeaderChange], findings: &mut Findings) -> Option<()> {
    header_name(name, findings)?;
    let mut wrong = |message: String, hint: &str| {
        findings.error(name.span.clone(), message, hint);
        None
    };
    let known = Header::new(name.text);
    if let Some((_, why)) = NEVER.iter().find(|(never, _)| *never == known.known) {
        return wrong(format!("`{}` cannot be set", name.text), why);
    }
    let max_breadth = "parallel forks are counted by it (RFC 5393)";
    if known.name.eq_ignore_ascii_case("max-breadth") {
        return wrong(format!("`{}` cannot be set", name.text), max_breadth);
    }
    let is_same = |other: &HeaderChange| match known.known {
        HeaderName::Other => other.header.name == known.name,
        name => other.header.known == name,
    };
    if headers.iter().any(is_same) {
        return wrong(format!("`{}` is changed twice", name.text), "say once what becomes of it");
    }
    Some(())
}

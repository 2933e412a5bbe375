//! What may be dropped at a glance where more comes than can be handled: before the message is parsed, and before there
//! is a buffer to answer from.
//!
//! What refusing takes is not there for calls, and with several times the load it is most of what there is to do. A
//! 503 costs a parse, a key, a MAC and a send, and its ACK half of that again; so only so many are given
//! ([`crate::overload::Answers`]), and what else begins something is dropped. RFC 3261 §21.5.4: "Servers MAY refuse the
//! connection or drop the request instead of responding with 503 (Service Unavailable)." RFC 7339 §5.10.2: a server
//! that throttles "MUST reject some requests from non-participating clients with a 503".
//!
//! A glance never answers: a request that came again may belong to a transaction, which only the complete way knows.
//! Dropped, it is one that was lost.

use crate::net::Now;
use crate::overload::{Filter, Policy, Standing};

use super::admit::Admission;

/// The message has waited too long, is sure to be of those that have to go, and there are more than can be answered. What a
/// filter at the socket could tell is counted, whether it goes or not.
#[cold]
pub(super) fn sheds(
    admission: &mut Admission,
    policy: &Policy,
    own: &[Box<str>],
    message: &[u8],
    now: Now,
) -> bool {
    let here = admission.waits.here();
    let is_shed = here.refuses(Standing::New)
        && standing(policy, message).is_some_and(|standing| here.refuses(standing))
        && !admission.may_answer(now);
    if admission.is_own && Filter::new(own, policy).fits(message) {
        admission.shares.count(admission.waits.on(), is_shed, now);
    }
    is_shed
}

/// What a request would take part in. `None`: it is to be looked at closely, because it is none that may go, or
/// unusual.
fn standing(policy: &Policy, message: &[u8]) -> Option<Standing> {
    let mut rest = message;
    let mut lines = std::iter::from_fn(|| {
        let (line, behind) = rest.split_at_checked(memchr::memchr(b'\n', rest)? + 1)?;
        rest = behind;
        Some(line)
    });
    let mut words = lines.next()?.strip_suffix(b"\r\n")?.split(|&byte| byte == b' ');
    let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
    let is_kept = matches!(method, b"ACK" | b"BYE" | b"CANCEL" | b"PRACK");
    // A response begins with the version.
    if is_kept || !method.iter().all(u8::is_ascii_uppercase) || version != b"SIP/2.0" {
        return None;
    }
    if words.next().is_some() || policy.is_emergency(user(uri)?) {
        return None;
    }
    to_line(policy, lines).map(|to| if has_tag(to) { Standing::InDialog } else { Standing::New })
}

/// The user of a SIP URI without escapes, empty where there is none; `None`: another scheme, or hard to tell.
fn user(uri: &[u8]) -> Option<&[u8]> {
    let rest = [&b"sip:"[..], b"sips:"].into_iter().find_map(|scheme| {
        let (begin, rest) = uri.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    })?;
    if memchr::memchr(b'%', rest).is_some() {
        return None;
    }
    let user = memchr::memchr(b'@', rest).and_then(|at| rest.get(..at)).unwrap_or_default();
    user.split(|&byte| byte == b':').next()
}

/// The only To line, whole; `None`: there is another number of them, or a line that is folded or cannot be read, or a
/// priority that may be one that is kept.
fn to_line<'m>(policy: &Policy, lines: impl Iterator<Item = &'m [u8]>) -> Option<&'m [u8]> {
    let (mut to, mut count) = (None, 0);
    for line in lines {
        match line.first()? {
            b't' | b'T' if is_named(line, b"to") || is_named(line, b"t") => {
                (to, count) = (Some(line), count + 1);
            }
            b'r' | b'R' if !policy.priorities.is_empty() && is_named(line, b"resource-priority") => {
                return None;
            }
            b' ' | b'\t' => return None,
            b'\r' | b'\n' => break,
            _ => {}
        }
    }
    to.filter(|_| count == 1)
}

fn is_named(line: &[u8], name: &[u8]) -> bool {
    let Some((begin, rest)) = line.split_at_checked(name.len()) else { return false };
    begin.eq_ignore_ascii_case(name) && rest.trim_ascii_start().starts_with(b":")
}

/// Something in the line may be a tag: behind a semicolon, with or without white space between them.
fn has_tag(line: &[u8]) -> bool {
    memchr::memchr_iter(b';', line).any(|at| {
        let behind = line.get(at + 1..).unwrap_or_default().trim_ascii_start();
        behind.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"tag"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ListenerId;
    use crate::overload::Kept;
    use crate::proxy::Came;

    fn policy() -> Policy {
        Policy { priorities: vec!["esnet".into()], emergency: vec!["112".into()], ..Policy::default() }
    }

    /// A request with this start line and To line, and another line before that.
    fn request(start: &str, before: &str, to: &str) -> Option<Standing> {
        let via = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1";
        let text =
            format!("{start}\r\n{via}\r\n{before}\r\n{to}\r\nFrom: <sip:a@b>;tag=1\r\n\r\nTo: x;tag=1\r\n");
        standing(&policy(), text.as_bytes())
    }

    const INVITE: &str = "INVITE sip:49@192.0.2.9 SIP/2.0";

    #[test]
    fn what_begins_something_is_told_at_a_glance() {
        for to in ["To: <sip:49@192.0.2.9>", "t:sip:49@192.0.2.9;user=phone", "TO : <sip:tag@x;lr>"] {
            for start in [INVITE, "OPTIONS sips:192.0.2.9:5061 SIP/2.0", "REGISTER sip:x SIP/2.0"] {
                assert_eq!(request(start, "Max-Forwards: 70", to), Some(Standing::New), "{start} {to}");
            }
        }
        for to in ["To: <sip:49@x>;tag=7", "t: sip:49@x ; \tTAG=7", "To: \"a;tag\" <sip:49@x>"] {
            assert_eq!(request(INVITE, "Max-Forwards: 70", to), Some(Standing::InDialog), "{to}");
        }
    }

    #[test]
    fn what_is_kept_or_unusual_is_looked_at_closely() {
        let to = "To: <sip:49@192.0.2.9>";
        for start in [
            "ACK sip:49@x SIP/2.0",
            "BYE sip:49@x SIP/2.0",
            "CANCEL sip:49@x SIP/2.0",
            "PRACK sip:49@x SIP/2.0",
            "SIP/2.0 200 OK",
            "INVITE sip:112@x SIP/2.0",
            "INVITE SIP:112:secret@x SIP/2.0",
            "INVITE sip:%31%312@x SIP/2.0",
            "INVITE urn:service:sos SIP/2.0",
            "INVITE tel:112 SIP/2.0",
            "INVITE sip:49@x SIP/3.0",
            "INVITE sip:49@x SIP/2.0 x",
            "invite sip:49@x SIP/2.0",
            "INVITE sip:49@x",
            "",
        ] {
            assert_eq!(request(start, "Max-Forwards: 70", to), None, "{start}");
        }
        for before in ["Resource-Priority: wps.4", "RESOURCE-PRIORITY :esnet.0", " folded", "To: <sip:b@x>"] {
            assert_eq!(request(INVITE, before, to), None, "{before}");
        }
        assert_eq!(request(INVITE, "Max-Forwards: 70", "Toto: 1"), None, "without To");
        assert_eq!(standing(&policy(), b"INVITE sip:49@x SIP/2.0\r\nTo: <sip:49@x>"), None, "cut off");
        let policy = Policy::default();
        let text = b"INVITE sip:112@x SIP/2.0\r\nResource-Priority: esnet.0\r\nTo: <sip:112@x>\r\n\r\n";
        assert_eq!(standing(&policy, text), Some(Standing::New), "nothing is kept that is not configured");
    }

    #[test]
    fn some_are_answered_and_the_rest_goes() {
        let policy = Policy { longest_wait_ns: Some(1_000_000), ..Policy::default() };
        let mut admission = Admission::new(&policy, 1, 0);
        let own = ["192.0.2.9".into()];
        let text = "INVITE sip:49@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n\
                    Call-ID: 1@192.0.2.1\r\nTo: <sip:49@192.0.2.9>\r\nFrom: <sip:48@192.0.2.1>;tag=1\r\n\r\n";
        let text = text.as_bytes();
        let bye = b"BYE sip:49@x SIP/2.0\r\nTo: <sip:49@x>;tag=1\r\n\r\n";
        let mut gone = 0;
        // 20,000 a second that have all waited too long: after 25 ms it is known that the queue stands.
        for number in 0..40_000 {
            let now = Now(number * 50_000);
            admission.begin(ListenerId(0), Some(2_000_000), Came::In, now);
            if admission.waits.here().is_overloaded() {
                assert!(!sheds(&mut admission, &policy, &own, bye, now));
                gone += u64::from(sheds(&mut admission, &policy, &own, text, now));
            }
        }
        let answered = 39_500 - gone;
        // Nothing was let in.
        assert!((100..160).contains(&answered), "in two seconds: {answered}");
        // All that the kernel can tell: the least of it is let in, so that the queue gets shorter.
        let mut kept = Vec::new();
        admission.look(Now(2_000_000_000), &mut |on, part| kept.push((on, part)));
        assert_eq!(kept, [(ListenerId(0), Kept::ALL.times(1, 4))]);
        assert!(admission.waits.here().is_overloaded());
    }
}

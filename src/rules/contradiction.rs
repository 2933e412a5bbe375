//! Conditions that exclude each other inside one rule: it could never match.

use super::When;
use super::automaton::parse;
use super::checks::is_separator;
use super::logic::{implies, plain_prefix};
use super::shape::{Shape, shapes};
use crate::net::{SectionId, Transport};

/// A listener's transport, whether it is IPv4 (`None`: it may be either), and the transport that it has besides.
type OnListener = (Transport, Option<bool>, Option<Transport>);

/// Why a condition cannot be satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The key that contradicts others.
    pub key: &'static str,
    /// What contradicts what.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
}

/// The first contradiction in a condition, nested ones not looked into. `listener` tells a listener's
/// transport and, where it has but one, its family. Sound, not complete: of patterns only the beginning is understood.
pub fn contradiction(when: &When, listener: impl Fn(SectionId) -> OnListener) -> Option<Contradiction> {
    let on: Vec<OnListener> = when.listener.iter().map(|&id| listener(id)).collect();
    transport(when, &on).or_else(|| family(when, &on)).or_else(|| prefix(when)).or_else(|| negation(when))
}

fn transport(when: &When, on: &[OnListener]) -> Option<Contradiction> {
    let wanted = |(transport, _, also): &OnListener| {
        when.transport.iter().any(|wanted| wanted == transport || Some(*wanted) == *also)
    };
    let (first, ..) = on.first().filter(|_| !when.transport.is_empty() && !on.iter().any(wanted))?;
    Some(Contradiction {
        key: "transport",
        message: format!("`transport` excludes the listeners of this rule, which have {first}"),
        hint: "leave `transport` out, or name a listener that has it",
    })
}

fn family(when: &When, on: &[OnListener]) -> Option<Contradiction> {
    let first = on.first()?.1?;
    let meets = |(_, v4, _): &OnListener| {
        v4.is_none_or(|v4| when.source.iter().any(|network| network.addr().is_ipv4() == v4))
    };
    if when.source.is_empty() || on.iter().any(meets) {
        return None;
    }
    let (theirs, ours) = if first { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    Some(Contradiction {
        key: "source",
        message: format!("`source` has {theirs} networks only, and the listeners of this rule are {ours}"),
        hint: "an IPv4 source never reaches an IPv6 listener, nor the other way round",
    })
}

fn prefix(when: &When) -> Option<Contradiction> {
    let pattern = when.ruri_user.as_ref().filter(|_| !when.ruri_prefix.is_empty())?;
    // A pattern that is not one is told elsewhere.
    let shapes = shapes(&parse(&pattern.0).ok()?)?;
    let prefixes: Vec<String> = when.ruri_prefix.iter().map(|prefix| plain_prefix(prefix)).collect();
    if prefixes.iter().any(|prefix| shapes.iter().any(|shape| may_begin(shape, prefix.as_bytes()))) {
        return None;
    }
    Some(Contradiction {
        key: "ruri_user",
        message: format!("no user that matches «{}» begins with {}", pattern.0, prefixes.join(" or ")),
        hint: "`ruri_prefix` and `ruri_user` must both hold; keep one of them, or write two routes",
    })
}

/// A text of this shape may begin with the prefix once its visual separators are taken out.
fn may_begin(shape: &Shape, mut prefix: &[u8]) -> bool {
    if shape.from_end {
        return true;
    }
    for step in &shape.steps {
        if (0..=u8::MAX).any(|byte| is_separator(byte) && step.class.has(byte)) {
            return true;
        }
        for _ in 0..step.min {
            match prefix.split_first() {
                None => return true,
                Some((first, _)) if !step.class.has(*first) => return false,
                Some((_, rest)) => prefix = rest,
            }
        }
        if step.min != step.max {
            return true;
        }
    }
    !shape.whole || prefix.is_empty()
}

fn negation(when: &When) -> Option<Contradiction> {
    let not = when.not.as_deref()?;
    if *not == When::default() {
        return Some(Contradiction {
            key: "not",
            message: "an empty `not` excludes every request".to_owned(),
            hint: "leave it out, or say what must not match",
        });
    }
    let positive = When { not: None, ..when.clone() };
    implies(&positive, not).then(|| Contradiction {
        key: "not",
        message: "`not` excludes everything that the rest of this rule lets through".to_owned(),
        hint: "make `not` narrower than the rest, or delete the rule",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Pattern;

    /// Listener 0 is IPv4, listener 1 is IPv6, listener 2 may be either, all are UDP, and the last is TCP, too.
    fn key_of(when: &When) -> Option<&'static str> {
        let listener = |id: SectionId| {
            let v4 = [Some(true), Some(false), None][usize::from(id.0)];
            (Transport::Udp, v4, (id.0 == 2).then_some(Transport::Tcp))
        };
        contradiction(when, listener).map(|found| found.key)
    }

    fn with(change: impl Fn(&mut When)) -> Option<&'static str> {
        let mut when = When::default();
        change(&mut when);
        key_of(&when)
    }

    #[test]
    fn a_listener_has_one_transport_and_one_family() {
        assert_eq!(
            with(|w| (w.listener, w.transport) = (vec![SectionId(0)], vec![Transport::Tcp])),
            Some("transport")
        );
        assert_eq!(with(|w| (w.listener, w.transport) = (vec![SectionId(2)], vec![Transport::Tcp])), None);
        let both = vec![Transport::Tcp, Transport::Udp];
        assert_eq!(with(|w| (w.listener, w.transport) = (vec![SectionId(0)], both.clone())), None);
        let v4 = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(with(|w| (w.listener, w.source) = (vec![SectionId(1)], v4.clone())), Some("source"));
        assert_eq!(with(|w| (w.listener, w.source) = (vec![SectionId(1), SectionId(0)], v4.clone())), None);
        assert_eq!(with(|w| (w.listener, w.source) = (vec![SectionId(2)], v4.clone())), None);
        assert_eq!(with(|w| (w.listener, w.source) = (vec![SectionId(1), SectionId(2)], v4.clone())), None);
    }

    #[test]
    fn a_prefix_that_the_pattern_does_not_allow() {
        let asks = |pattern: &str, prefix: &str| {
            with(|w| (w.ruri_user, w.ruri_prefix) = (Some(Pattern(pattern.into())), vec![prefix.into()]))
        };
        for (pattern, prefix) in [
            (r"^\+49", "33"),
            (r"^(00|\+)49[0-9]+$", "+33"),
            ("^[0-4]", "5"),
            ("^12$", "123"),
            ("^112$", "11-3"),
        ] {
            assert_eq!(asks(pattern, prefix), Some("ruri_user"), "{pattern} {prefix}");
        }
        for (pattern, prefix) in [
            (r"^\+49", "+4989"),
            (r"^\+49", "+4"),
            ("^[0-9]+", "5"),
            ("^4[-0-9]", "49"),
            ("^.", "5"),
            ("^(-|4)", "5"),
            ("49$", "33"),
            ("49", "33"),
            ("^12", "123"),
        ] {
            assert_eq!(asks(pattern, prefix), None, "{pattern} {prefix}");
        }
    }

    #[test]
    fn a_not_that_leaves_nothing() {
        let invite = || When { method: vec!["INVITE".into()], ..When::default() };
        let not = |inner: When| Some(Box::new(inner));
        assert_eq!(with(|w| w.not = not(When::default())), Some("not"));
        assert_eq!(key_of(&When { not: not(invite()), ..invite() }), Some("not"));
        let narrower = When { ruri_prefix: vec!["1".into()], ..invite() };
        assert_eq!(key_of(&When { not: not(narrower.clone()), ..invite() }), None);
        assert_eq!(key_of(&When { not: not(invite()), ..narrower }), Some("not"));
        let message = When { method: vec!["MESSAGE".into()], ..When::default() };
        let twice = When { not: not(message), ..When::default() };
        // Everything but what is not MESSAGE is MESSAGE: and that is no INVITE.
        assert_eq!(key_of(&When { not: not(twice.clone()), ..invite() }), Some("not"));
        assert_eq!(with(|w| w.not = not(twice.clone())), None);
    }
}

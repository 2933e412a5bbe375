//! What follows from a condition: whether it takes in another one, or rules it out. Sound, not complete:
//! "no" means "cannot tell".

use ipnet::IpNet;

use super::When;
use super::checks::is_separator;

/// How deep into nested `not`s conclusions are drawn.
const DEPTH: usize = 6;

/// Everything that satisfies `narrow` satisfies `wide`.
pub(super) fn implies(narrow: &When, wide: &When) -> bool {
    implies_to(narrow, wide, DEPTH)
}

fn implies_to(narrow: &When, wide: &When, depth: usize) -> bool {
    let Some(deeper) = depth.checked_sub(1) else { return false };
    takes_in(narrow, wide) && wide.not.as_deref().is_none_or(|not| excludes_to(narrow, not, deeper))
}

/// Nothing satisfies both.
fn excludes_to(a: &When, b: &When, depth: usize) -> bool {
    let Some(deeper) = depth.checked_sub(1) else { return false };
    are_apart(a, b)
        || a.not.as_deref().is_some_and(|not| implies_to(b, not, deeper))
        || b.not.as_deref().is_some_and(|not| implies_to(a, not, deeper))
}

/// As [`implies`], but for what must not match.
fn takes_in(narrow: &When, wide: &When) -> bool {
    within(&narrow.method, &wide.method)
        && within(&narrow.transport, &wide.transport)
        && within(&narrow.listener, &wide.listener)
        && within_by(&narrow.source, &wide.source, holds)
        && within_by(&narrow.ruri_prefix, &wide.ruri_prefix, |inner, outer| begins(inner, outer))
        && within(&narrow.ruri_host, &wide.ruri_host)
        && within(&narrow.from_host, &wide.from_host)
        && within(&narrow.to_host, &wide.to_host)
        && [
            (&narrow.ruri_user, &wide.ruri_user),
            (&narrow.from_user, &wide.from_user),
            (&narrow.to_user, &wide.to_user),
        ]
        .into_iter()
        .all(|(narrow, wide)| wide.is_none() || narrow == wide)
        && wide.header.iter().all(|(name, pattern)| {
            narrow.header.iter().any(|(n, p)| n.eq_ignore_ascii_case(name) && p == pattern)
        })
}

/// They ask for different values of the same thing.
fn are_apart(a: &When, b: &When) -> bool {
    apart_by(&a.method, &b.method, |a, b| a == b)
        || apart_by(&a.transport, &b.transport, |a, b| a == b)
        || apart_by(&a.listener, &b.listener, |a, b| a == b)
        || apart_by(&a.source, &b.source, |a, b| holds(a, b) || holds(b, a))
        || apart_by(&a.ruri_prefix, &b.ruri_prefix, |a, b| begins(a, b) || begins(b, a))
        || apart_by(&a.ruri_host, &b.ruri_host, |a, b| a == b)
        || apart_by(&a.from_host, &b.from_host, |a, b| a == b)
        || apart_by(&a.to_host, &b.to_host, |a, b| a == b)
}

fn holds(inner: &IpNet, outer: &IpNet) -> bool {
    outer.contains(inner)
}

/// The longer prefix begins with the shorter one.
fn begins(longer: &str, shorter: &str) -> bool {
    plain_prefix(longer).starts_with(&plain_prefix(shorter))
}

/// A number prefix without visual separators.
pub(super) fn plain_prefix(prefix: &str) -> String {
    prefix.chars().filter(|&c| !u8::try_from(c).is_ok_and(is_separator)).collect()
}

fn within<T: PartialEq>(narrow: &[T], wide: &[T]) -> bool {
    within_by(narrow, wide, |inner, outer| inner == outer)
}

/// An empty condition is satisfied by everything.
fn within_by<T>(narrow: &[T], wide: &[T], is_in: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty()
        || (!narrow.is_empty() && narrow.iter().all(|inner| wide.iter().any(|outer| is_in(inner, outer))))
}

fn apart_by<T>(a: &[T], b: &[T], meet: impl Fn(&T, &T) -> bool) -> bool {
    !a.is_empty() && !b.is_empty() && !a.iter().any(|a| b.iter().any(|b| meet(a, b)))
}

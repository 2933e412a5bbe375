//! Rules that can never match because an earlier one takes all of their requests.

use super::{Rule, RuleId, When};

/// For each rule that can never match: the first rule that takes everything it could match.
///
/// Sound, not complete: patterns and `not` are only compared for equality.
pub fn shadowed(rules: &[Rule]) -> Vec<(RuleId, RuleId)> {
    let mut found = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        if let Some(earlier) = rules[..at].iter().find(|earlier| covers(&earlier.when, &rule.when)) {
            found.push((rule.id, earlier.id));
        }
    }
    found
}

/// Everything that satisfies `narrow` satisfies `wide`.
fn covers(wide: &When, narrow: &When) -> bool {
    within(&narrow.method, &wide.method)
        && within(&narrow.transport, &wide.transport)
        && within(&narrow.listener, &wide.listener)
        && within_by(&narrow.source, &wide.source, |inner, outer| outer.contains(inner))
        && within_by(&narrow.ruri_prefix, &wide.ruri_prefix, |inner, outer| inner.starts_with(&**outer))
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
        && wide.header.iter().all(|header| narrow.header.contains(header))
        && (wide.not.is_none() || wide.not == narrow.not)
}

fn within<T: PartialEq>(narrow: &[T], wide: &[T]) -> bool {
    within_by(narrow, wide, |inner, outer| inner == outer)
}

/// An empty condition is satisfied by everything.
fn within_by<T>(narrow: &[T], wide: &[T], is_in: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty()
        || (!narrow.is_empty() && narrow.iter().all(|inner| wide.iter().any(|outer| is_in(inner, outer))))
}

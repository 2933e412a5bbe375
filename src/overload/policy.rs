//! All that a configuration says on how much is let in.

use super::Limits;

/// `[overload]`, `[[peer]]` and every `limit`.
#[derive(Default)]
pub struct Policy {
    /// All limits.
    pub limits: Limits,
    /// So long new requests may wait, in nanoseconds; none: as long as they have to.
    pub longest_wait_ns: Option<u64>,
    /// Namespaces and values of Resource-Priority that are kept, lower case (RFC 7339 §5.10.1).
    pub priorities: Vec<Box<str>>,
    /// Users of the Request-URI that are emergency calls, lower case.
    pub emergency: Vec<Box<str>>,
    /// Neighbours that offer it are told how much less to send (RFC 7339).
    pub oc: bool,
}

impl Policy {
    /// A value of Resource-Priority is one that is kept: it, or its namespace, is named. Compared without case.
    pub fn keeps_priority(&self, value: &[u8]) -> bool {
        let namespace = value.split(|&c| c == b'.').next().unwrap_or_default();
        let is = |named: &str| {
            value.eq_ignore_ascii_case(named.as_bytes()) || namespace.eq_ignore_ascii_case(named.as_bytes())
        };
        self.priorities.iter().any(|named| is(named))
    }

    /// The user of a Request-URI is that of an emergency call. Compared without case.
    pub fn is_emergency(&self, user: &[u8]) -> bool {
        self.emergency.iter().any(|number| user.eq_ignore_ascii_case(number.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_namespaces_or_values() {
        let priorities = vec!["esnet".into(), "wps.0".into()];
        let policy = Policy { priorities, emergency: vec!["112".into()], ..Policy::default() };
        for (value, kept) in
            [("esnet.3", true), ("ESNET.0", true), ("wps.0", true), ("wps.1", false), ("wps", false)]
        {
            assert_eq!(policy.keeps_priority(value.as_bytes()), kept, "{value}");
        }
        assert!(policy.is_emergency(b"112") && !policy.is_emergency(b"1124") && !policy.is_emergency(b""));
    }
}

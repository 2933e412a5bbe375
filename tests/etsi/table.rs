//! The purposes that have no test, and why; and that none is forgotten.

use std::collections::BTreeSet;

use crate::conformance::{names, tested};

/// What does not apply to Viaduct, one by one.
const DO_NOT_APPLY: &[(&str, &str)] = &[
    (
        "SIP_CC_PR_MP_RQ_V_033",
        "RFC 3261 §8.2.2.3 forbids it: \"Require and Proxy-Require MUST NOT be used in a SIP CANCEL request […]. These \
         header fields MUST be ignored if they are present in these requests\"",
    ),
    (
        "SIP_CC_PR_MP_RS_V_039",
        "RFC 3261 §16.7 step 6 forbids it: the 503 becomes a 500 (`forking::two_503_come_to_a_500`)",
    ),
    ("SIP_CC_PR_TR_CL_V_013", "Viaduct asks nobody for credentials: it has no 407 of its own"),
    ("SIP_CC_PR_TR_CL_TI_009", "of reliable transports, which this version has none of"),
    (
        "SIP_CC_PR_TR_CL_TI_011",
        "of a user agent's core (RFC 3261 §13.2.2.4): a proxy sends a 2xx on, and the ACK to it is its caller's",
    ),
    ("SIP_CC_PR_TR_SE_V_029", "of a user agent, which has dialogs: a proxy sends a BYE on"),
    (
        "SIP_QC_PR_V_007",
        "of a user agent with media: RFC 3261 §11.2 has a body where there is something to describe",
    ),
    ("SIP_QC_PR_V_011", "Viaduct asks nobody for credentials: it has no 407 of its own"),
    ("SIP_QC_PR_V_013", "the file has no words for it"),
];

/// The sources whose tests are named like purposes.
const SOURCES: [&str; 6] = [
    include_str!("client.rs"),
    include_str!("forking.rs"),
    include_str!("general.rs"),
    include_str!("requests.rs"),
    include_str!("responses.rs"),
    include_str!("server.rs"),
];

#[test]
fn each_purpose_has_its_test_or_its_reason() {
    let tested = tested(&SOURCES, "SIP_");
    let explained: BTreeSet<String> = DO_NOT_APPLY.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(explained.len(), DO_NOT_APPLY.len());
    assert!(tested.is_disjoint(&explained) && tested.len() > 100, "{}", tested.len());
    if let Some(named) = names("etsi_ts102027_proxy_purposes.tsv", "SIP_") {
        assert_eq!(named, tested.union(&explained).cloned().collect());
    }
}

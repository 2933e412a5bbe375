//! The scenarios that have no test, and why; and that none is forgotten.

use std::collections::BTreeSet;

use crate::conformance::{names, tested};

/// What does not apply to Viaduct, by the reason.
const DO_NOT_APPLY: &[(&str, &[&str])] = &[
    (
        "of a registrar and its bindings, which this version is not",
        &[
            "testChangeQValue",
            "testChangeQValueWithOutbound",
            "testDetailsExpires",
            "testDetailsExpiresWithOutbound",
            "testDetailsQValue",
            "testDetailsQValueExpires",
            "testDetailsQValueWithOutbound",
            "testExpiryCleanup",
            "testExpiryCleanupWithOutbound",
            "testFetch",
            "testFetchNonExistent",
            "testFetchNonExistentWithOutbound",
            "testFetchWithOutbound",
            "testMixedExpires",
            "testMixedExpiresWithOutbound",
            "testMultiContactSerial",
            "testMultiple1",
            "testMultiple1WithOutbound",
        ],
    ),
    (
        "of a proxy that asks for credentials: Viaduct asks nobody",
        &[
            "testDigestInviteBasic",
            "testDigestRegister",
            "testInvite2543TidWithDigest",
            "testInviteBadNonce",
            "testInviteBogusAuth",
            "testInviteForgedHostInFrom",
            "testInviteForgedUserInFrom",
            "testNonInviteBadAuth",
        ],
    ),
    (
        "of transports that this version has not",
        &[
            "testInviteBasicTls",
            "testInviteNoDNSTcp",
            "testInviteTCPToTLSCalleeHangsUp",
            "testInviteTCPToTLSCallerHangsUp",
            "testInviteTCPToUDPCalleeHangsUp",
            "testInviteTCPToUDPCallerHangsUp",
            "testInviteTLSToTCPCalleeHangsUp",
            "testInviteTLSToTCPCallerHangsUp",
            "testInviteTLSToUDPCalleeHangsUp",
            "testInviteTLSToUDPCallerHangsUp",
            "testInviteUDPToTCPCalleeHangsUp",
            "testInviteUDPToTCPCallerHangsUp",
            "testInviteUDPToTLSCalleeHangsUp",
            "testInviteUDPToTLSCallerHangsUp",
            "testNonInviteTCPtoUDP",
            "testNonInviteTLS",
            "testNonInviteUDPtoTCP",
        ],
    ),
    (
        "of a proxy that follows a 3xx by itself (RFC 3261 §16.7 step 4): Viaduct sends it on",
        &["testInviteLoopingRedirect", "testInviteRecursiveRedirect"],
    ),
    (
        "of user agents: a transfer or a conference is calls like others to a proxy",
        &[
            "testAttendedExtensionToExtensionTransfer",
            "testBlindTransferExtensionToExtensionHangupImmediately",
            "testConferenceConferencorHangsUp",
        ],
    ),
    (
        "names are resolved by a control thread, which is not here: see `dns` in tests/e2e",
        &["testInviteNoDNS"],
    ),
];

/// The sources whose tests are named like scenarios.
const SOURCES: [&str; 7] = [
    include_str!("ack.rs"),
    include_str!("cancel.rs"),
    include_str!("fork.rs"),
    include_str!("invite.rs"),
    include_str!("odd.rs"),
    include_str!("other.rs"),
    include_str!("serial.rs"),
];

#[test]
fn each_scenario_has_its_test_or_its_reason() {
    let tested = tested(&SOURCES, "test");
    let explained = DO_NOT_APPLY.iter().flat_map(|(_, names)| *names).map(|name| (*name).to_owned());
    let explained: BTreeSet<String> = explained.collect();
    assert!(tested.is_disjoint(&explained) && tested.len() > 150, "{}", tested.len());
    if let Some(named) = names("proxy_scenario_names.txt", "test") {
        assert_eq!(named, tested.union(&explained).cloned().collect());
    }
}

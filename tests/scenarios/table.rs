//! The scenarios that have no test, and why; and that none is forgotten.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

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

fn tested() -> BTreeSet<&'static str> {
    let lines = SOURCES.iter().flat_map(|source| source.lines());
    let names = lines.filter_map(|line| line.trim().split_once(" => ")).map(|(name, _)| name);
    names.filter(|name| name.starts_with("test")).collect()
}

#[test]
fn each_scenario_has_its_test_or_its_reason() {
    let folder = std::env::var_os("VIADUCT_CONFORMANCE_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"),
        PathBuf::from,
    );
    let tested = tested();
    let explained: BTreeSet<_> = DO_NOT_APPLY.iter().flat_map(|(_, names)| *names).copied().collect();
    assert!(tested.is_disjoint(&explained) && tested.len() > 150, "{}", tested.len());
    let file = folder.join("proxy_scenario_names.txt");
    let Ok(text) = std::fs::read_to_string(&file) else {
        // Past the test harness's capture: whoever ran the tests has to see it.
        let line = format!("\nSKIPPED: the list of scenarios: no {}\n", file.display());
        std::io::stderr().write_all(line.as_bytes()).expect("stderr can be written");
        return;
    };
    let named: BTreeSet<_> = text.lines().map(str::trim).filter(|name| name.starts_with("test")).collect();
    let known: BTreeSet<_> = tested.union(&explained).copied().collect();
    assert_eq!(named, known);
}

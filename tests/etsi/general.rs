//! SIP_MG_PR and SIP_QC_PR: messages of unusual forms (RFC 3261 §7, §18, §19), and OPTIONS (§11).

use crate::iut::{
    Iut, OWN, UA1, UA2, UA3, invited, only, request, response, towards, uri, value, values, with, without,
};
use crate::named_tests;

const TO_UA2: &str = "sip:ua2@10.0.0.2";

#[track_caller]
fn forwarded(text: &str) -> String {
    let method = text.split(' ').next().unwrap_or_default();
    only(&Iut::new().by_ua1(text), UA2, method).to_owned()
}

fn header_goes_on_as_it_is(header: &str, text: &str) {
    let got = forwarded(&with(&request("INVITE", TO_UA2), header, text));
    assert_eq!(values(&got, header), [text]);
}

fn names_of_headers_in_any_case() {
    let invite = request("INVITE", TO_UA2)
        .replacen("Via:", "vIA:", 1)
        .replacen("From:", "FROM:", 1)
        .replacen("To:", "tO:", 1)
        .replacen("Call-ID:", "cALL-iD:", 1)
        .replacen("CSeq:", "cseq:", 1)
        .replacen("Max-Forwards:", "MAX-FORWARDS:", 1);
    let got = forwarded(&invite);
    assert_eq!((value(&got, "MAX-FORWARDS"), values(&got, "Max-Forwards").len()), ("69", 0));
    for name in ["vIA", "FROM", "tO", "cALL-iD", "cseq"] {
        assert_eq!(value(&got, name), value(&invite, name));
    }
}

fn vias_keep_their_order() {
    let vias = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa, SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKb";
    let got = forwarded(&with(&request("INVITE", TO_UA2), "Via", vias));
    assert!(
        matches!(values(&got, "Via")[..], [own, old] if own.contains("10.0.0.254") && old == vias),
        "{got}"
    );
}

fn branch_in_any_case() {
    let via = "SIP/2.0/UDP 192.0.2.1:5060;BraNch=z9hG4bKfirst";
    let invite = with(&request("INVITE", TO_UA2), "Via", via);
    let mut iut = Iut::new();
    let sent = iut.by_ua1(&invite);
    assert_eq!(values(only(&sent, UA2, "INVITE "), "Via")[1], via);
    // It is read as one: the same request again is the same transaction.
    assert!(towards(&iut.by_ua1(&invite), UA2).is_empty());
}

fn unknown_reason_phrase() {
    let (mut iut, _, got) = invited();
    only(&iut.by_inside(UA2, &response(&got, "200 PERFECT", "ua2")), UA1, "SIP/2.0 200 PERFECT\r\n");
}

/// §18.1.1: "Implementations MUST be able to handle messages up to the maximum datagram packet size. For UDP, this
/// size is 65,535 bytes, including IP and UDP headers." What goes on is longer by Via and Record-Route, and has to fit.
fn the_largest_invite() {
    const DATAGRAM: usize = 65_535 - 20 - 8;
    let invite = |padding: usize| with(&request("INVITE", TO_UA2), "X-Padding", &"x".repeat(padding));
    let longer = forwarded(&invite(0)).len() - invite(0).len();
    let largest = invite(DATAGRAM - invite(0).len() - longer);
    assert!(largest.len() > 65_000, "{}", largest.len());
    assert_eq!(forwarded(&largest).len(), largest.len() + longer);
    // One byte more is told, not lost.
    let more = largest.replacen("X-Padding: ", "X-Padding: x", 1);
    only(&Iut::new().by_ua1(&more), UA1, "SIP/2.0 513 ");
}

fn version_in_lower_case() {
    let got = forwarded(&request("INVITE", TO_UA2).replacen(" SIP/2.0", " sip/2.0", 1));
    assert_eq!(uri(&got), TO_UA2);
}

fn header_parameters_are_ignored() {
    let (from, to) = ("<sip:ua1@192.0.2.1?Route=x>;tag=ua1", "<sip:ua2@10.0.0.2?Subject=y>");
    let got = forwarded(&with(&with(&request("INVITE", TO_UA2), "From", from), "To", to));
    assert_eq!((value(&got, "From"), value(&got, "To")), (from, to));
}

fn bad_request(text: &str) {
    let sent = Iut::new().by_ua1(text);
    assert!(towards(&sent, UA2).is_empty());
    only(&sent, UA1, "SIP/2.0 400 ");
}

fn short_response_is_dropped() {
    let (mut iut, _, got) = invited();
    let short = with(&response(&got, "200 OK", "ua2"), "Content-Length", "10");
    assert!(iut.by_inside(UA2, &short).is_empty());
}

fn options() -> String {
    request("OPTIONS", &format!("sip:{OWN}"))
}

#[track_caller]
fn answered(options: &str) -> String {
    only(&Iut::new().by_ua1(options), UA1, "SIP/2.0 200 ").to_owned()
}

fn answer_copies_what_it_has_to() {
    let (options, answer) = (options(), answered(&options()));
    for header in ["From", "Call-ID", "CSeq", "Via"] {
        assert_eq!(values(&answer, header), values(&options, header));
    }
}

fn answer_keeps_the_tag() {
    let to = "<sip:192.0.2.254>;tag=known";
    assert_eq!(value(&answered(&with(&options(), "To", to)), "To"), to);
}

fn both_are_asked() {
    let sent = Iut::new().by_ua1(&request("OPTIONS", "sip:both@10.0.0.7"));
    only(&sent, UA2, "OPTIONS ");
    only(&sent, UA3, "OPTIONS ");
}

named_tests! {
    SIP_MG_PR_V_001 => header_goes_on_as_it_is("Contact", "<sip:%75a1@192.0.2.1>");
    SIP_MG_PR_V_003 => header_goes_on_as_it_is("Contact", "<sip:ua1@192.0.2.1;unheard=of;lone>");
    SIP_MG_PR_V_005 => header_goes_on_as_it_is("Contact", "<sip:ua1@192.0.2.1;method=INVITE>");
    SIP_MG_PR_V_007 => names_of_headers_in_any_case();
    SIP_MG_PR_V_009 => vias_keep_their_order();
    SIP_MG_PR_V_011 => branch_in_any_case();
    SIP_MG_PR_V_013 => unknown_reason_phrase();
    SIP_MG_PR_V_015 => the_largest_invite();
    SIP_MG_PR_I_001 => version_in_lower_case();
    SIP_MG_PR_I_003 => header_parameters_are_ignored();
    SIP_MG_PR_I_005 => bad_request(&without(&request("INVITE", TO_UA2), "Call-ID"));
    SIP_MG_PR_I_007 => bad_request(&with(&request("INVITE", TO_UA2), "Content-Length", "10"));
    SIP_MG_PR_I_009 => short_response_is_dropped();
    SIP_QC_PR_V_001 => _ = answered(&options());
    SIP_QC_PR_V_003 => answer_copies_what_it_has_to();
    SIP_QC_PR_V_005 => answer_keeps_the_tag();
    SIP_QC_PR_V_009 => both_are_asked();
}

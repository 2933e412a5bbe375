//! SIP_CC_PR_MP_RQ: RFC 3261 §16.3 to §16.6, by method.

use crate::iut::{Iut, OWN, UA1, UA2, UA3, only, request, towards, uri, value, values, with, without};
use crate::named_tests;

/// UA1 sends it; what goes on to UA2.
#[track_caller]
fn forwarded(text: &str) -> String {
    let method = text.split(' ').next().unwrap_or_default();
    only(&Iut::new().by_ua1(text), UA2, method).to_owned()
}

/// UA1 sends it and is refused; the answer.
#[track_caller]
fn refused(text: &str, status: u16) -> String {
    let sent = Iut::new().by_ua1(text);
    assert!(towards(&sent, UA2).is_empty(), "{sent:#?}");
    only(&sent, UA1, &format!("SIP/2.0 {status} ")).to_owned()
}

const TO_UA2: &str = "sip:ua2@10.0.0.2";

fn unsupported_scheme(method: &str) {
    refused(&request(method, "unheard:ua2@10.0.0.2"), 416);
}

fn unknown_proxy_require(method: &str) {
    let answer = refused(&with(&request(method, TO_UA2), "Proxy-Require", "unheard, of"), 420);
    assert_eq!(value(&answer, "Unsupported"), "unheard, of");
}

fn own_route_is_removed(method: &str) {
    let got = forwarded(&with(&request(method, TO_UA2), "Route", &format!("<sip:{OWN};lr>")));
    assert!(values(&got, "Route").is_empty(), "{got}");
}

fn goes_where_the_request_uri_says(method: &str) {
    assert_eq!(uri(&forwarded(&request(method, TO_UA2))), TO_UA2);
}

fn nobody_here(method: &str) {
    refused(&request(method, "sip:nobody@proxy.example.net"), 404);
}

fn max_forwards_is_lowered(method: &str) {
    let got = forwarded(&with(&request(method, TO_UA2), "Max-Forwards", "5"));
    assert_eq!(values(&got, "Max-Forwards"), ["4"]);
}

fn max_forwards_is_added(method: &str) {
    // §16.6 step 3: "a field value, which SHOULD be 70".
    let got = forwarded(&without(&request(method, TO_UA2), "Max-Forwards"));
    assert_eq!(values(&got, "Max-Forwards"), ["70"]);
}

fn strict_route_is_followed(method: &str) {
    let routes = "<sip:10.0.0.2>, <sip:10.0.0.9;lr>";
    let got = forwarded(&with(&request(method, "sip:ua9@10.0.0.7"), "Route", routes));
    assert_eq!(uri(&got), "sip:10.0.0.2");
    assert_eq!(values(&got, "Route"), ["<sip:10.0.0.9;lr>, <sip:ua9@10.0.0.7>"]);
}

fn parameter_that_is_not_allowed_is_removed(method: &str) {
    // §19.1.1, table 1: `method` is not allowed in a Request-URI.
    let got = forwarded(&request(method, "sip:ua2@10.0.0.2;method=INVITE;x=1"));
    assert_eq!(uri(&got), "sip:ua2@10.0.0.2;x=1");
}

fn own_maddr_is_removed() {
    let got = forwarded(&request("ACK", "sip:ua2@10.0.0.2;maddr=192.0.2.254;transport=udp"));
    assert_eq!(uri(&got), TO_UA2);
}

fn other_maddr_is_followed() {
    let sent = Iut::new().by_ua1(&request("ACK", "sip:ua2@10.0.0.7;maddr=10.0.0.2"));
    assert_eq!(uri(only(&sent, UA2, "ACK")), "sip:ua2@10.0.0.7;maddr=10.0.0.2");
}

fn both_are_asked() {
    let sent = Iut::new().by_ua1(&request("INVITE", "sip:both@10.0.0.7"));
    let [two, three] = [UA2, UA3].map(|ua| only(&sent, ua, "INVITE "));
    // §16.6 step 8: "The branch parameter […] MUST be globally unique for requests" of each branch.
    assert_ne!(value(two, "Via"), value(three, "Via"));
}

named_tests! {
    SIP_CC_PR_MP_RQ_V_001 => unsupported_scheme("INVITE");
    SIP_CC_PR_MP_RQ_V_003 => unknown_proxy_require("INVITE");
    SIP_CC_PR_MP_RQ_V_005 => own_route_is_removed("INVITE");
    SIP_CC_PR_MP_RQ_V_007 => goes_where_the_request_uri_says("INVITE");
    SIP_CC_PR_MP_RQ_V_009 => nobody_here("INVITE");
    SIP_CC_PR_MP_RQ_V_011 => max_forwards_is_lowered("INVITE");
    SIP_CC_PR_MP_RQ_V_013 => max_forwards_is_added("INVITE");
    SIP_CC_PR_MP_RQ_V_015 => strict_route_is_followed("INVITE");
    SIP_CC_PR_MP_RQ_V_017 => goes_where_the_request_uri_says("INVITE");
    SIP_CC_PR_MP_RQ_V_019 => own_maddr_is_removed();
    SIP_CC_PR_MP_RQ_V_021 => other_maddr_is_followed();
    SIP_CC_PR_MP_RQ_V_023 => max_forwards_is_lowered("ACK");
    SIP_CC_PR_MP_RQ_V_025 => max_forwards_is_added("ACK");
    SIP_CC_PR_MP_RQ_V_027 => strict_route_is_followed("ACK");
    SIP_CC_PR_MP_RQ_V_029 => goes_where_the_request_uri_says("ACK");
    SIP_CC_PR_MP_RQ_V_031 => unsupported_scheme("CANCEL");
    SIP_CC_PR_MP_RQ_V_035 => own_route_is_removed("CANCEL");
    SIP_CC_PR_MP_RQ_V_037 => goes_where_the_request_uri_says("CANCEL");
    SIP_CC_PR_MP_RQ_V_039 => nobody_here("CANCEL");
    SIP_CC_PR_MP_RQ_V_041 => max_forwards_is_lowered("CANCEL");
    SIP_CC_PR_MP_RQ_V_043 => max_forwards_is_added("CANCEL");
    SIP_CC_PR_MP_RQ_V_045 => strict_route_is_followed("CANCEL");
    SIP_CC_PR_MP_RQ_V_047 => goes_where_the_request_uri_says("CANCEL");
    SIP_CC_PR_MP_RQ_V_049 => unsupported_scheme("BYE");
    SIP_CC_PR_MP_RQ_V_051 => unknown_proxy_require("BYE");
    SIP_CC_PR_MP_RQ_V_053 => own_route_is_removed("BYE");
    SIP_CC_PR_MP_RQ_V_055 => goes_where_the_request_uri_says("BYE");
    SIP_CC_PR_MP_RQ_V_057 => nobody_here("BYE");
    SIP_CC_PR_MP_RQ_V_059 => max_forwards_is_lowered("BYE");
    SIP_CC_PR_MP_RQ_V_061 => max_forwards_is_added("BYE");
    SIP_CC_PR_MP_RQ_V_063 => strict_route_is_followed("BYE");
    SIP_CC_PR_MP_RQ_V_065 => goes_where_the_request_uri_says("BYE");
    SIP_CC_PR_MP_RQ_V_067 => both_are_asked();
    SIP_CC_PR_MP_RQ_I_001 => parameter_that_is_not_allowed_is_removed("INVITE");
    SIP_CC_PR_MP_RQ_I_003 => parameter_that_is_not_allowed_is_removed("CANCEL");
}

//! `mode = "stateful"`: RFC 3261 §16.7 to §16.10 and §17, RFC 6026, RFC 4320, and the purposes of ETSI TS 102 027
//! that concern a proxy's transactions (named `SIP_CC_PR_…`; those that fork or need another transport than UDP are
//! left out).

use super::forwarding::INVITE;
use super::world::{Became, CONFIGURATION, Sent, World, builder, header, headers, response, wire};
use crate::drop_reason::DropReason;
use crate::fib::spec::Route;
use crate::transaction::{SendFailure, What};

const ALICE: &str = "10.0.0.50:5060";
const BOB: &str = "192.0.2.9:5060";

/// The INVITE in three forms: a branch of RFC 3261, one without the cookie, none.
fn forms() -> [String; 3] {
    [INVITE.to_owned(), INVITE.replace("z9hG4bK74bf9", "old"), INVITE.replace(";branch=z9hG4bK74bf9", "")]
}

fn bye() -> String {
    INVITE.replace("INVITE", "BYE").replace("z9hG4bK74bf9", "z9hG4bKbye")
}

fn branch(text: &str) -> &str {
    header(text, "Via").split("branch=").nth(1).unwrap().split(';').next().unwrap()
}

fn cancel_of(invite: &str) -> String {
    invite.replace("INVITE", "CANCEL")
}

fn ack_of(invite: &str, to_tag: &str) -> String {
    let to = invite.lines().find(|line| line.starts_with("To:")).unwrap();
    invite.replace("INVITE", "ACK").replace(to, &format!("{to};tag={to_tag}"))
}

/// A world in which this request was sent on; what Bob got, and what went back at once.
fn sent_on(request: &str) -> (World, String, Vec<Sent>) {
    let mut world = World::stateful(0, 1);
    let sent = world.forwarded("private", ALICE, request, "public", BOB);
    let due = world.due();
    (world, sent, due)
}

#[track_caller]
fn back(world: &mut World, text: &str) -> String {
    world.relayed("public", BOB, text, "private", ALICE)
}

/// The only message that is due.
#[track_caller]
fn only(mut due: Vec<Sent>, what: What, from: &str, to: &str) -> String {
    assert_eq!(due.len(), 1, "{due:?}");
    let sent = due.remove(0);
    assert_eq!((sent.what, sent.from.as_str(), sent.to.to_string().as_str()), (what, from, to));
    sent.text
}

fn times(sent: &[Sent], what: What) -> Vec<u64> {
    sent.iter().filter(|sent| sent.what == what).map(|sent| sent.at_ms).collect()
}

fn intervals(times: &[u64]) -> Vec<u64> {
    // Timers fire up to 16 ms late.
    times.windows(2).map(|pair| (pair[1] - pair[0]) / 100 * 100).collect()
}

#[test]
fn an_invite_is_answered_100_within_200_ms() {
    // SIP_CC_PR_TR_SE_V_001, V_003, V_005: "sends a provisional (100 Trying) response including the same URI and no
    // tag in the To header", "with a Timestamp header".
    let (mut world, sent, due) = sent_on(&INVITE.replace("Max-Forwards", "Timestamp: 54\nMax-Forwards"));
    assert!(branch(&sent).starts_with("z9hG4bKbt"), "{sent}");
    assert!(due.is_empty(), "a better answer may come soon");
    assert_eq!(
        only(world.pass(200), What::Trying, "private", ALICE),
        "SIP/2.0 100 Trying\nVia: SIP/2.0/UDP 10.0.0.50:5060;branch=z9hG4bK74bf9\n\
         From: Alice <sip:alice@10.0.0.50>;tag=9fxced76sl\nTo: Bob <sip:bob@192.0.2.9>\n\
         Call-ID: 3848276298220188511@10.0.0.50\nCSeq: 1 INVITE\nTimestamp: 54\nContent-Length: 0\n\n"
    );
}

#[test]
fn a_retransmitted_invite_gets_the_last_answer_and_goes_no_further() {
    // SIP_CC_PR_TR_SE_V_007, V_009, V_011: "repeats its last response".
    for invite in forms() {
        let (mut world, sent, _) = sent_on(&invite);
        world.dropped("private", ALICE, &invite, DropReason::Absorbed);
        let trying = only(world.due(), What::Trying, "private", ALICE);
        assert!(trying.starts_with("SIP/2.0 100 Trying\n"), "{trying}");
        world.dropped("private", ALICE, &invite, DropReason::Absorbed);
        assert_eq!(only(world.due(), What::ResponseAgain, "private", ALICE), trying);
        let ringing = back(&mut world, &response(&sent, "180 Ringing", "b"));
        world.dropped("private", ALICE, &invite, DropReason::Absorbed);
        assert_eq!(only(world.due(), What::ResponseAgain, "private", ALICE), ringing);
        let busy = back(&mut world, &response(&sent, "486 Busy Here", "b"));
        world.due();
        world.dropped("private", ALICE, &invite, DropReason::Absorbed);
        assert_eq!(only(world.due(), What::ResponseAgain, "private", ALICE), busy);
        assert_eq!(world.tally().transactions.absorbed, 4);
    }
}

#[test]
fn a_refusal_is_acknowledged_here() {
    // SIP_CC_PR_TR_CL_V_007, V_009 and SIP_CC_PR_MP_RS_V_013, V_015, V_017: an ACK "with the same Call-ID, From
    // header, Request-URI, CSeq number as in the previous INVITE, with a single Via header same as topmost Via of
    // the previous INVITE and the To header the same value as the To header in the received response and the CSeq
    // method set to ACK"; the response goes back without the topmost Via.
    for status in ["302 Moved Temporarily", "410 Gone", "500 Server Internal Error", "603 Decline"] {
        let (mut world, sent, _) = sent_on(INVITE);
        let refusal = response(&sent, status, "b");
        let relayed = back(&mut world, &refusal);
        assert!(
            relayed.starts_with(&format!("SIP/2.0 {status}\nVia: SIP/2.0/UDP 10.0.0.50:5060")),
            "{relayed}"
        );
        let ack = only(world.due(), What::Ack, "public", BOB);
        assert!(ack.starts_with("ACK sip:bob@192.0.2.9 SIP/2.0\n"), "{ack}");
        assert_eq!(headers(&ack, "Via").collect::<Vec<_>>(), [header(&sent, "Via")]);
        for name in ["Call-ID", "From"] {
            assert_eq!(header(&ack, name), header(&sent, name));
        }
        assert_eq!((header(&ack, "To"), header(&ack, "CSeq")), (header(&refusal, "To"), "1 ACK"));
        // The refusal comes again: the same ACK, and nothing goes back.
        world.dropped("public", BOB, &refusal, DropReason::Absorbed);
        assert_eq!(only(world.due(), What::Ack, "public", BOB), ack);
    }
}

#[test]
fn the_ack_to_a_refusal_ends_here() {
    // SIP_CC_PR_TR_SE_V_025, V_027: "does not forward the message"; SIP_CC_PR_TR_SE_TI_007: T4 later it is over.
    for invite in forms() {
        let (mut world, sent, _) = sent_on(&invite);
        back(&mut world, &response(&sent, "486 Busy Here", "b"));
        world.due();
        for _ in 0..2 {
            world.dropped("private", ALICE, &ack_of(&invite, "b"), DropReason::Absorbed);
        }
        assert!(world.pass(4_900).is_empty());
        assert_eq!(world.tally().transactions.open, [1, 0, 1, 0]);
        world.pass(200);
        assert_eq!(world.tally().transactions.open, [0, 0, 1, 0]);
    }
}

#[test]
fn a_refusal_is_sent_again_until_the_ack() {
    // SIP_CC_PR_TR_SE_TI_001, TI_003, TI_005: after T1, then 2·T1 …, T2; nothing after Timer H.
    let (mut world, sent, _) = sent_on(INVITE);
    back(&mut world, &response(&sent, "486 Busy Here", "b"));
    world.due();
    let sent = world.pass(60_000);
    let again = times(&sent, What::ResponseAgain);
    assert_eq!((again.len(), sent.len()), (10, 10));
    assert_eq!(intervals(&again)[..4], [1_000, 2_000, 4_000, 4_000]);
    assert_eq!(world.tally().transactions.open, [0; 4]);
}

#[test]
fn an_unanswered_invite_is_sent_again_and_then_answered_408() {
    // SIP_CC_PR_TR_CL_TI_001, TI_003, TI_005: T1, 2·T1 …; "when timer B set to a value of 64*T1 expires, does not
    // send an ACK". §16.7 step 6: "If there are no final responses in the context, the proxy MUST send a 408".
    let (mut world, first, _) = sent_on(INVITE);
    let begin = world.now.0 / 1_000_000;
    let sent = world.pass(32_100);
    let mut again = vec![begin];
    again.extend(times(&sent, What::RequestAgain));
    assert_eq!(intervals(&again), [500, 1_000, 2_000, 4_000, 8_000, 16_000]);
    assert!(
        sent.iter().filter(|s| s.what == What::RequestAgain).all(|s| s.text == first && s.from == "public")
    );
    let last = sent.last().unwrap();
    assert_eq!(
        (last.what, last.from.as_str(), last.to.to_string().as_str()),
        (What::Final, "private", ALICE)
    );
    assert!(
        last.text.starts_with("SIP/2.0 408 Request Timeout\nVia: SIP/2.0/UDP 10.0.0.50:5060;"),
        "{}",
        last.text
    );
    assert!(times(&sent, What::Ack).is_empty());
    // Its ACK is known by the transaction; what comes from Bob now is a stray.
    world.dropped("private", ALICE, &ack_of(INVITE, "any"), DropReason::Absorbed);
    world.dropped("public", BOB, &response(&first, "200 OK", "b"), DropReason::StrayResponse);
}

#[test]
fn an_invite_that_was_provisionally_answered_is_not_sent_again() {
    // SIP_CC_PR_TR_CL_TI_007, SIP_CC_PR_TR_CL_V_011.
    let (mut world, sent, _) = sent_on(INVITE);
    back(&mut world, &response(&sent, "183 Session Progress", "b"));
    assert!(world.pass(60_000).is_empty());
}

#[test]
fn a_100_from_behind_goes_no_further() {
    // §16.7 step 5: "a stateful proxy MUST NOT forward any 100 (Trying) response."
    let (mut world, sent, _) = sent_on(INVITE);
    world.dropped("public", BOB, &response(&sent, "100 Trying", ""), DropReason::Absorbed);
    // Nor is it sent again; the 100 is our own.
    only(world.pass(60_000), What::Trying, "private", ALICE);
}

#[test]
fn a_2xx_goes_back_each_time() {
    // SIP_CC_PR_MP_RS_V_005; RFC 6026 §7.1 and §7.2: no ACK and no retransmission of our own, INVITEs that come
    // again are absorbed, each 2xx goes back, until 64·T1 later. The ACK has a transaction of its own.
    let (mut world, sent, _) = sent_on(INVITE);
    let ok = response(&sent, "200 OK", "b");
    let first = back(&mut world, &ok);
    assert!(world.due().is_empty());
    world.dropped("private", ALICE, INVITE, DropReason::Absorbed);
    assert!(world.due().is_empty());
    assert_eq!(back(&mut world, &ok), first);
    assert!(back(&mut world, &response(&sent, "200 OK", "other-branch")).contains("other-branch"));
    let ack = ack_of(INVITE, "b").replace("z9hG4bK74bf9", "z9hG4bKack");
    let ack = world.forwarded("private", ALICE, &ack, "public", BOB);
    assert!(branch(&ack).starts_with("z9hG4bKbs"), "an ACK is forwarded statelessly");
    assert!(world.pass(31_500).is_empty());
    assert_eq!(back(&mut world, &ok), first);
    world.pass(1_000);
    world.dropped("public", BOB, &ok, DropReason::StrayResponse);
    assert_eq!(world.tally().transactions.open, [0; 4]);
}

#[test]
fn the_ack_of_an_old_client_to_a_2xx_goes_on() {
    // RFC 6026 §6: "the ACK must be passed directly to the transaction user instead of being absorbed".
    for invite in &forms()[1..] {
        let (mut world, sent, _) = sent_on(invite);
        back(&mut world, &response(&sent, "200 OK", "b"));
        world.forwarded("private", ALICE, &ack_of(invite, "b"), "public", BOB);
    }
}

#[test]
fn a_matching_cancel_is_answered_and_goes_on_as_ours() {
    // SIP_CC_PR_TR_CL_V_001: "sends a CANCEL from the related pending client transaction with the Request-URI,
    // Call-ID, To, From headers, CSeq number identical as in the INVITE request to be cancelled and the CSeq method
    // set to CANCEL". SIP_CC_PR_TR_SE_V_019, V_021, V_023: the INVITE is answered 487.
    for invite in forms() {
        let (mut world, sent, _) = sent_on(&invite);
        back(&mut world, &response(&sent, "180 Ringing", "b"));
        let answer = world.answered("private", ALICE, &cancel_of(&invite), 200);
        assert_eq!(header(&answer, "CSeq"), "1 CANCEL");
        let cancel = only(world.due(), What::Cancel, "public", BOB);
        assert!(cancel.starts_with("CANCEL sip:bob@192.0.2.9 SIP/2.0\n"), "{cancel}");
        assert_eq!(headers(&cancel, "Via").collect::<Vec<_>>(), [header(&sent, "Via")]);
        for name in ["Call-ID", "From", "To"] {
            assert_eq!(header(&cancel, name), header(&sent, name));
        }
        assert_eq!(header(&cancel, "CSeq"), "1 CANCEL");
        // It comes again: the same answer again, and nothing else.
        world.dropped("private", ALICE, &cancel_of(&invite), DropReason::Absorbed);
        assert_eq!(only(world.due(), What::ResponseAgain, "private", ALICE), answer);
        world.dropped("public", BOB, &response(&cancel, "200 OK", "b"), DropReason::Absorbed);
        back(&mut world, &response(&sent, "487 Request Terminated", "b"));
        only(world.due(), What::Ack, "public", BOB);
    }
}

#[test]
fn a_cancel_that_is_sent_on_says_why() {
    // RFC 3326 §2: "Proxies generating a CANCEL request upon reception of a CANCEL from the previous hop that contains a
    // Reason header field SHOULD copy it into the new CANCEL request."
    let (mut world, sent, _) = sent_on(INVITE);
    let why = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\nREASON: Q.850;cause=16\n";
    let cancel = cancel_of(INVITE).replace("Max-Forwards", &format!("{why}Max-Forwards"));
    world.answered("private", ALICE, &cancel, 200);
    back(&mut world, &response(&sent, "180 Ringing", "b"));
    let due = world.due();
    let cancel = due.iter().find(|sent| sent.what == What::Cancel).expect("a CANCEL");
    let reasons: Vec<_> = headers(&cancel.text, "Reason").collect();
    assert_eq!(reasons, ["SIP;cause=200;text=\"Call completed elsewhere\"", "Q.850;cause=16"]);
}

#[test]
fn our_cancel_is_sent_again_until_it_is_answered() {
    let (mut world, sent, _) = sent_on(INVITE);
    back(&mut world, &response(&sent, "180 Ringing", "b"));
    world.answered("private", ALICE, &cancel_of(INVITE), 200);
    let cancel = only(world.due(), What::Cancel, "public", BOB);
    let again = world.pass(600);
    assert_eq!(only(again, What::RequestAgain, "public", BOB), cancel);
    world.dropped("public", BOB, &response(&cancel, "200 OK", "b"), DropReason::Absorbed);
    // The 487 never comes: §9.1, 64·T1 later the INVITE is taken for cancelled.
    let sent = world.pass(32_000);
    assert_eq!(sent.first().map(|sent| sent.what), Some(What::Final));
    assert!(sent[0].text.starts_with("SIP/2.0 408 "), "{}", sent[0].text);
}

#[test]
fn a_cancel_waits_until_the_invite_is_provisionally_answered() {
    // SIP_CC_PR_TR_CL_V_003: "the related client transaction is in the INVITE Calling state, does not send a
    // CANCEL"; V_005: "on receipt of a final response, does not send a CANCEL".
    for (status, cancels) in [("180 Ringing", true), ("200 OK", false), ("486 Busy Here", false)] {
        let (mut world, sent, _) = sent_on(INVITE);
        world.answered("private", ALICE, &cancel_of(INVITE), 200);
        assert!(world.due().is_empty());
        back(&mut world, &response(&sent, status, "b"));
        assert_eq!(world.due().iter().any(|sent| sent.what == What::Cancel), cancels, "{status}");
    }
}

#[test]
fn a_cancel_that_nobody_knows_goes_on_statelessly() {
    // §16.10: "If a response context is not found, […] It MUST statelessly forward the CANCEL request". The purposes
    // SIP_CC_PR_MP_RQ_V_031 to V_047 are met by the stateless proxy (`forwarding`, `validation`).
    let mut world = World::stateful(0, 1);
    let cancel = world.forwarded("private", ALICE, &cancel_of(INVITE), "public", BOB);
    assert!(branch(&cancel).starts_with("z9hG4bKbs"));
    back(&mut world, &response(&cancel, "481 Call/Transaction Does Not Exist", "b"));
    assert_eq!(world.tally().transactions.open, [0; 4]);
}

#[test]
fn another_request_is_kept_until_timer_j() {
    // SIP_CC_PR_TR_SE_V_015, V_017, SIP_CC_PR_TR_SE_TI_009: "retransmits its response until the timer J set to 64*T1
    // expires".
    for bye in [bye(), bye().replace("z9hG4bKbye", "old"), bye().replace(";branch=z9hG4bKbye", "")] {
        let (mut world, sent, due) = sent_on(&bye);
        assert!(due.is_empty(), "no 100 before its time");
        world.dropped("private", ALICE, &bye, DropReason::Absorbed);
        assert!(world.due().is_empty());
        let ok = back(&mut world, &response(&sent, "200 OK", "b"));
        for _ in 0..3 {
            world.pass(10_000);
            world.dropped("private", ALICE, &bye, DropReason::Absorbed);
            assert_eq!(only(world.due(), What::ResponseAgain, "private", ALICE), ok);
        }
        world.pass(2_500);
        assert_eq!(world.tally().transactions.open, [0; 4]);
    }
}

#[test]
fn another_request_that_takes_long_gets_100_and_that_again() {
    // RFC 4320 §4.1, and SIP_CC_PR_TR_SE_V_013: in Proceeding "repeats its last response".
    let (mut world, sent, _) = sent_on(&bye());
    world.dropped("public", BOB, &response(&sent, "183 Session Progress", "b"), DropReason::Absorbed);
    let sent = world.pass(3_600);
    let trying = times(&sent, What::Trying);
    assert_eq!(trying.len(), 1);
    world.dropped("private", ALICE, &bye(), DropReason::Absorbed);
    let again = only(world.due(), What::ResponseAgain, "private", ALICE);
    assert!(again.starts_with("SIP/2.0 100 Trying\n"), "{again}");
}

#[test]
fn another_request_is_sent_again_by_timer_e_until_f() {
    // SIP_CC_PR_TR_CL_TI_013, TI_015, TI_019; RFC 4320 §4.2: no 408.
    let (mut world, _, _) = sent_on(&bye());
    let begin = world.now.0 / 1_000_000;
    let sent = world.pass(40_000);
    let mut again = vec![begin];
    again.extend(times(&sent, What::RequestAgain));
    assert_eq!(intervals(&again)[..5], [500, 1_000, 2_000, 4_000, 4_000]);
    assert_eq!(again.len(), 11);
    assert!(times(&sent, What::Final).is_empty());
    assert_eq!(world.tally().transactions.open, [0; 4]);
}

#[test]
fn another_request_in_proceeding_is_sent_again_every_t2() {
    // SIP_CC_PR_TR_CL_TI_017: "repeats its BYE request after timer E set to T2 value expires".
    let (mut world, sent, _) = sent_on(&bye());
    world.dropped("public", BOB, &response(&sent, "100 Trying", ""), DropReason::Absorbed);
    let again = times(&world.pass(20_000), What::RequestAgain);
    assert_eq!(intervals(&again), [4_000; 4]);
}

#[test]
fn no_408_goes_back_for_another_request_than_invite() {
    // RFC 4320 §4.2: "A transaction-stateful SIP element MUST NOT send a response with Status-Code of 408 to a
    // non-INVITE request."
    let (mut world, sent, _) = sent_on(&bye());
    world.dropped("public", BOB, &response(&sent, "408 Request Timeout", "b"), DropReason::Absorbed);
    assert!(world.pass(40_000).is_empty());
}

#[test]
fn a_503_goes_back_as_500() {
    // §16.7 step 6.
    let (mut world, sent, _) = sent_on(INVITE);
    let relayed = back(&mut world, &response(&sent, "503 Service Unavailable", "b"));
    assert!(relayed.starts_with("SIP/2.0 500 Server Internal Error\nVia: "), "{relayed}");
    only(world.due(), What::Ack, "public", BOB);
}

#[test]
fn what_cannot_be_sent_is_answered_500() {
    // §16.9: "the proxy MUST behave as if the forwarded request received a 503", which goes back as 500.
    let mut world = World::stateful(0, 1);
    let bytes = wire(INVITE);
    let on = world.snapshot.plan.listener_named("private").unwrap().id;
    let incoming = crate::proxy::Incoming::datagram(bytes.as_bytes(), on, ALICE.parse().unwrap());
    let outcome =
        crate::proxy::handle(&mut world.state, &world.snapshot, &incoming, world.now, &mut world.out);
    let crate::proxy::Outcome::Forward { transaction: Some(transaction), .. } = outcome else {
        panic!("{outcome:?}")
    };
    world.due();
    world.state.send_failed(transaction, SendFailure::Other);
    let text = only(world.due(), What::Final, "private", ALICE);
    assert!(text.starts_with("SIP/2.0 500 Next Hop Unreachable\n"), "{text}");
    world.dropped("private", ALICE, &ack_of(INVITE, "any"), DropReason::Absorbed);
}

#[test]
fn a_routing_change_moves_new_transactions_only() {
    let (mut world, first, _) = sent_on(INVITE);
    let private = Route::new("192.0.2.0/24".parse().unwrap(), 3, Some("10.0.0.1".parse().unwrap()));
    // With it comes a configuration in which no rule is stateful any more.
    world.reconfigure(CONFIGURATION, builder().route(private).build());
    only(world.pass(200), What::Trying, "private", ALICE);
    assert_eq!(only(world.pass(400), What::RequestAgain, "public", BOB), first);
    world.dropped("private", ALICE, INVITE, DropReason::Absorbed);
    world.due();
    back(&mut world, &response(&first, "180 Ringing", "b"));
    world.answered("private", ALICE, &cancel_of(INVITE), 200);
    only(world.due(), What::Cancel, "public", BOB);
    let other = world.forwarded("private", ALICE, &INVITE.replace("74bf9", "new"), "private", BOB);
    assert!(branch(&other).starts_with("z9hG4bKbs"), "{other}");
}

#[test]
fn a_listener_that_goes_down_is_a_transport_error() {
    let (mut world, _, _) = sent_on(INVITE);
    world.lose_public();
    only(world.pass(200), What::Trying, "private", ALICE);
    let text = only(world.pass(400), What::Final, "private", ALICE);
    assert!(text.starts_with("SIP/2.0 500 "), "{text}");
    assert_eq!(world.tally().transactions.sent[What::RequestAgain as usize], 0);
}

#[test]
fn without_room_a_request_is_answered_503_with_a_time() {
    let mut world = World::stateful(0, 1);
    for number in 0..4 {
        let invite = INVITE.replace("74bf9", &format!("n{number}"));
        world.forwarded("private", ALICE, &invite, "public", BOB);
    }
    let text = world.answered("private", ALICE, INVITE, 503);
    assert_eq!(header(&text, "Retry-After"), crate::limits::RETRY_AFTER_S.to_string());
    assert_eq!(world.tally().transactions.refused, [1, 0]);
    // The ACK to it is known by its To tag.
    let tag = header(&text, "To").split(";tag=").nth(1).unwrap().to_owned();
    world.dropped("private", ALICE, &ack_of(INVITE, &tag), DropReason::AckAbsorbed);
}

#[test]
fn a_request_of_another_shards_transaction_is_handed_over_and_so_is_its_answer() {
    let mut shards = [World::stateful(0, 2), World::stateful(1, 2)];
    let mut owned = [0; 2];
    for number in 0..64 {
        let invite = INVITE
            .replace("74bf9", &format!("n{number}"))
            .replace("Call-ID: ", &format!("Call-ID: {number}-"));
        let owner = match shards[0].receive("private", ALICE, &invite) {
            Became::HandOver(owner) => usize::from(owner),
            Became::Forward { .. } | Became::Answer { status: 503, .. } => 0,
            other => panic!("{other:?}"),
        };
        owned[owner] += 1;
        if owner == 0 {
            continue;
        }
        // Its retransmission, CANCEL, ACK and what follows in its dialog go the same way.
        let bye = invite.replace("INVITE", "BYE").replace("74bf9", "bye");
        for message in [invite.clone(), cancel_of(&invite), ack_of(&invite, "b"), bye] {
            assert!(matches!(shards[0].receive("private", ALICE, &message), Became::HandOver(1)));
        }
        if let Became::Forward { text, .. } = shards[1].receive("private", ALICE, &invite) {
            let ok = response(&text, "200 OK", "b");
            assert!(matches!(shards[0].receive("public", BOB, &ok), Became::HandOver(1)));
            back(&mut shards[1], &ok);
        }
    }
    assert!(owned.iter().all(|&owned| owned > 16), "{owned:?}");
}

#[test]
fn what_a_shard_would_own_that_has_ended_is_kept_where_it_comes_in() {
    let invite = |number| INVITE.replace("Call-ID: ", &format!("Call-ID: {number}-"));
    let mut world = World::stateful(0, 2);
    let theirs = (0..64)
        .map(invite)
        .find(|invite| matches!(world.receive("private", ALICE, invite), Became::HandOver(1)));
    let theirs = theirs.expect("one of 64");
    let mut world = World::stateful(0, 2);
    world.state.shard_gone(1);
    let sent = world.forwarded("private", ALICE, &theirs, "public", BOB);
    world.dropped("private", ALICE, &theirs, DropReason::Absorbed);
    back(&mut world, &response(&sent, "200 OK", "b"));
    // An answer to what the other one had sent on comes too late.
    let Became::Forward { text, .. } = World::stateful(1, 2).receive("private", ALICE, &theirs) else {
        panic!()
    };
    world.dropped("public", BOB, &response(&text, "200 OK", "b"), DropReason::StrayResponse);
}

#[test]
fn a_dialog_stays_stateful_and_a_stateless_one_stateless() {
    for (mode, expected) in [("stateful", "z9hG4bKbt"), ("stateless", "z9hG4bKbs")] {
        let mut world = World::stateful(0, 1);
        // What is marked is forwarded statelessly.
        let invite = match mode {
            "stateless" => INVITE.replace("Max-Forwards", "X-Trunk: gold\nMax-Forwards"),
            _ => INVITE.to_owned(),
        };
        let Became::Forward { text, to, .. } = world.receive("private", ALICE, &invite) else { panic!() };
        let routes: String = headers(&text, "Record-Route")
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .map(|value| format!("Route: {value}\n"))
            .collect();
        let bye = bye()
            .replace("X-Trunk: gold\n", "")
            .replace("Max-Forwards", &format!("{routes}Max-Forwards"))
            .replace("To: Bob <sip:bob@192.0.2.9>", "To: Bob <sip:bob@192.0.2.9>;tag=b")
            .replacen("sip:bob@192.0.2.9", &format!("sip:bob@{}", to.ip()), 1);
        let Became::Forward { text, .. } = world.receive("private", ALICE, &bye) else { panic!("{bye}") };
        assert!(branch(&text).starts_with(expected), "{mode}: {text}");
    }
}

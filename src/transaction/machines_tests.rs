//! The state machines step by step, against the sentences that ask for each step.

use super::client::{Ack, Client, ClientDue, ClientState, OnResponse};
use super::server::{OnAck, OnRequest, Server, ServerDue, ServerState};
use super::timers::{LATE_TRYING_NS, T2_NS, T4_NS, TIMER_C_NS, TRYING_NS, Timer};
use crate::net::Now;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const B: u64 = 32 * SECOND;
const START: Now = Now(7 * SECOND);

fn after(ns: u64) -> Now {
    START.plus_ns(ns)
}

/// Lets time pass until the client is over; gives what it did, and when (in milliseconds after the start).
fn run_client(client: &mut Client) -> Vec<(u64, ClientDue)> {
    let mut done = Vec::new();
    loop {
        let now = client.deadline();
        let due = client.on_timer(now);
        done.push(((now.0 - START.0) / MS, due));
        if matches!(due, ClientDue::TimedOut(_) | ClientDue::End(_)) {
            return done;
        }
        assert_ne!(due, ClientDue::Nothing);
    }
}

fn run_server(server: &mut Server) -> Vec<(u64, ServerDue)> {
    let mut done = Vec::new();
    while let Some(now) = server.deadline() {
        let due = server.on_timer(now);
        done.push(((now.0 - START.0) / MS, due));
        if matches!(due, ServerDue::End(_)) {
            return done;
        }
        assert_ne!(due, ServerDue::Nothing);
    }
    done
}

fn invite(now: Now) -> Client {
    Client::new(true, u64::MAX, now)
}

fn other(now: Now) -> Client {
    Client::new(false, u64::MAX, now)
}

#[test]
fn an_invite_without_any_answer() {
    // §17.1.1.2: "retransmitted with intervals that double after each transmission"; "The value of 64*T1 is
    // equal to the amount of time required to send seven requests in the case of an unreliable transport."
    let again = ClientDue::SendAgain(Timer::A);
    assert_eq!(
        run_client(&mut invite(START)),
        [
            (500, again),
            (1_500, again),
            (3_500, again),
            (7_500, again),
            (15_500, again),
            (31_500, again),
            (32_000, ClientDue::TimedOut(Timer::B))
        ]
    );
}

#[test]
fn another_request_without_any_answer() {
    // §17.1.2.2: "this results in intervals of 500 ms, 1 s, 2 s, 4 s, 4 s, 4 s, etc."
    let done = run_client(&mut other(START));
    let times: Vec<u64> = done.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000]);
    assert_eq!(done.last(), Some(&(32_000, ClientDue::TimedOut(Timer::F))));
}

#[test]
fn another_request_that_is_being_worked_on() {
    // "If Timer E fires while in the "Proceeding" state, the request MUST be passed to the transport layer
    // for retransmission, and Timer E MUST be reset with a value of T2 seconds. If timer F fires while in the
    // "Proceeding" state, the TU MUST be informed of a timeout".
    let mut client = other(START);
    assert_eq!(client.on_response(100, after(100 * MS)), OnResponse::default());
    assert_eq!(client.state(), ClientState::Proceeding);
    let times: Vec<u64> = run_client(&mut client).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500, 32_000]);
}

#[test]
fn no_other_provisional_than_100_to_another_request_than_invite() {
    // RFC 4320 §4.1: "An SIP element MUST NOT send any provisional response with a Status-Code other than
    // 100 to a non-INVITE request."
    assert!(!other(START).on_response(183, START).passes);
}

#[test]
fn an_invite_that_rings() {
    // "In the "Proceeding" state, the client transaction SHOULD NOT retransmit the request any longer.
    // Furthermore, the provisional response MUST be passed to the TU."
    let mut client = invite(START);
    assert!(client.on_response(180, after(SECOND)).passes);
    assert_eq!(client.deadline(), after(SECOND + TIMER_C_NS));
    // §16.7 step 2: "the proxy MUST reset timer C", by anything but 100.
    assert!(!client.on_response(100, after(2 * SECOND)).passes);
    assert_eq!(client.deadline(), after(SECOND + TIMER_C_NS));
    assert!(client.on_response(183, after(3 * SECOND)).passes);
    assert_eq!(client.deadline(), after(3 * SECOND + TIMER_C_NS));
}

#[test]
fn timer_c_runs_from_the_forwarding_where_only_100_came() {
    let mut client = invite(START);
    client.on_response(100, after(SECOND));
    assert_eq!(client.deadline(), after(TIMER_C_NS));
    const { assert!(TIMER_C_NS > 3 * 60 * SECOND) }
}

#[test]
fn timer_c_cancels_and_then_gives_up() {
    // §16.8: "If the client transaction has received a provisional response, the proxy MUST generate a CANCEL
    // request matching that transaction."
    let mut client = invite(START);
    client.on_response(180, START);
    let done = run_client(&mut client);
    let c = TIMER_C_NS / MS;
    assert_eq!(done, [(c, ClientDue::Cancel), (c + 32_000, ClientDue::TimedOut(Timer::C))]);
    // A provisional that comes after the CANCEL does not prolong it.
    let mut client = invite(START);
    client.on_response(180, START);
    assert!(client.on_cancel(after(SECOND)));
    client.on_response(180, after(2 * SECOND));
    assert_eq!(client.deadline(), after(SECOND + B));
    assert!(!client.on_cancel(after(3 * SECOND)), "one CANCEL is enough");
}

#[test]
fn a_cancel_waits_for_a_provisional() {
    // §9.1: "If no provisional response has been received, the CANCEL request MUST NOT be sent; rather, the
    // client MUST wait for the arrival of a provisional response before sending the request."
    let mut client = invite(START);
    assert!(!client.on_cancel(after(MS)));
    let heard = client.on_response(100, after(2 * MS));
    assert_eq!(heard, OnResponse { cancel: true, ..OnResponse::default() });
    // "If the original request has generated a final response, the CANCEL SHOULD NOT be sent".
    let mut client = invite(START);
    client.on_cancel(after(MS));
    assert_eq!(client.on_response(200, after(2 * MS)), OnResponse { passes: true, ..OnResponse::default() });
    assert!(!client.on_cancel(after(3 * MS)));
}

#[test]
fn other_requests_are_not_cancelled() {
    // §9.1: "A CANCEL request SHOULD NOT be sent to cancel a request other than INVITE."
    let mut client = other(START);
    client.on_response(100, START);
    assert!(!client.on_cancel(START));
}

#[test]
fn a_refused_invite() {
    // "reception of a response with status code from 300-699 MUST cause the client transaction to transition
    // to "Completed". The client transaction MUST pass the received response up to the TU, and the client
    // transaction MUST generate an ACK request".
    let mut client = invite(START);
    let heard = client.on_response(486, after(SECOND));
    assert_eq!(heard, OnResponse { passes: true, ack: Some(Ack::New), cancel: false });
    // "MUST cause the ACK to be re-passed to the transport layer for retransmission, but the newly received
    // response MUST NOT be passed up to the TU."
    let again = client.on_response(486, after(2 * SECOND));
    assert_eq!(again, OnResponse { passes: false, ack: Some(Ack::Again), cancel: false });
    assert_eq!(client.on_response(180, after(2 * SECOND)), OnResponse::default());
    assert!(client.on_response(200, after(2 * SECOND)).passes, "§16.7 step 5: any 2xx to an INVITE");
    assert!(!client.on_transport_error());
    assert_eq!(run_client(&mut client), [(33_000, ClientDue::End(Timer::D))]);
}

#[test]
fn an_accepted_invite() {
    // RFC 6026 §8.4: "the client transaction MUST transition to the "Accepted" state, and Timer M MUST be
    // started with a value of 64*T1. […] Any 2xx responses that match this client transaction and that are
    // received while in the "Accepted" state MUST be passed up to the TU. The client transaction MUST NOT
    // generate an ACK to the 2xx response."
    let mut client = invite(START);
    for at in [SECOND, 2 * SECOND, 30 * SECOND] {
        let heard = client.on_response(200, after(at));
        assert_eq!(heard, OnResponse { passes: true, ack: None, cancel: false });
    }
    assert_eq!(client.on_response(486, after(SECOND)), OnResponse::default());
    assert_eq!(run_client(&mut client), [(33_000, ClientDue::End(Timer::M))]);
}

#[test]
fn another_request_that_is_answered() {
    // "Once the client transaction enters the "Completed" state, it MUST set Timer K to fire in T4 seconds";
    // it "exists to buffer any additional response retransmissions".
    let mut client = other(START);
    assert!(client.on_response(404, after(SECOND)).passes);
    assert_eq!(client.on_response(404, after(2 * SECOND)), OnResponse::default());
    assert_eq!(client.on_response(200, after(2 * SECOND)), OnResponse::default());
    assert_eq!(client.deadline(), after(SECOND + T4_NS));
    assert_eq!(run_client(&mut client), [(6_000, ClientDue::End(Timer::K))]);
}

#[test]
fn a_transport_error_ends_what_has_no_answer() {
    assert!(invite(START).on_transport_error() && other(START).on_transport_error());
    assert!(invite(START).over(true).on_transport_error());
    // Whoever rings has got the INVITE, also where he says so by another connection and closes ours.
    for (mut client, fails) in [
        (invite(START), false),
        (invite(START).over(true), false),
        (other(START), true),
        (other(START).over(true), false),
    ] {
        client.on_response(180, after(SECOND));
        assert_eq!((client.state(), client.on_transport_error()), (ClientState::Proceeding, fails));
    }
}

#[test]
fn a_connection_that_has_broken_counts_as_a_failure_and_not_as_silence_besides() {
    let mut client = invite(START).over(true);
    assert!(client.on_broken_connection() && !client.is_abandoned());
    client.give_up();
    assert!(client.is_abandoned() && !client.on_broken_connection(), "once");
    assert!(!client.tells_silence(after(32 * SECOND)));
    assert_eq!(client.on_timer(client.deadline()), ClientDue::TimedOut(Timer::B));
}

#[test]
fn an_invite_that_is_refused_is_answered_until_the_ack() {
    let mut server = Server::invite(START);
    assert!(server.on_response(180, START));
    assert_eq!((server.deadline(), server.on_request()), (None, OnRequest::SendAgain));
    assert!(server.on_response(486, START));
    assert_eq!((server.state(), server.on_request()), (ServerState::Completed, OnRequest::SendAgain));
    // §16.7 step 5: "either exactly one non-2xx response or one or more 2xx responses to an INVITE request".
    assert!(!server.on_response(404, START) && !server.on_response(180, START));
    // "timer G is set to fire in MIN(2*T1, T2) seconds […] reset with a value that doubles, unless that value
    // exceeds T2"; "If timer H fires while in the "Completed" state, it implies that the ACK was never
    // received."
    let mut unacknowledged = server;
    let times: Vec<u64> = run_server(&mut unacknowledged).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000]);
    assert_eq!(unacknowledged.on_timer(after(B)), ServerDue::End(Timer::H));
    // "The purpose of the "Confirmed" state is to absorb any additional ACK messages that arrive".
    assert_eq!(server.on_ack(after(SECOND)), OnAck::Absorb);
    assert_eq!((server.state(), server.on_ack(after(SECOND))), (ServerState::Confirmed, OnAck::Absorb));
    assert_eq!(server.on_request(), OnRequest::Absorb);
    assert_eq!(run_server(&mut server), [(6_000, ServerDue::End(Timer::I))]);
}

#[test]
fn an_invite_gets_a_100_within_200_ms_unless_it_got_something_better() {
    // §17.2.1: "The server transaction MUST generate a 100 (Trying) response unless it knows that the TU will generate a
    // provisional or final response within 200 ms, in which case it MAY generate a 100 (Trying) response. This provisional
    // response is needed to quench request retransmissions rapidly".
    let mut silent = Server::invite(START);
    assert_eq!(run_server(&mut silent), [(TRYING_NS / MS, ServerDue::Trying(Timer::Trying))]);
    assert_eq!((silent.state(), silent.on_request()), (ServerState::Proceeding, OnRequest::SendAgain));
    // A step of the wheel later it is sent.
    const { assert!(TRYING_NS + 16 * MS < 200 * MS) }
    let mut again = Server::invite(START);
    assert_eq!((again.on_request(), again.on_request()), (OnRequest::Trying, OnRequest::SendAgain));
    assert_eq!(again.deadline(), None);
    for (status, ends) in
        [(180, None), (200, Some(ServerDue::End(Timer::L))), (486, Some(ServerDue::End(Timer::H)))]
    {
        let mut answered = Server::invite(START);
        assert!(answered.on_response(status, after(TRYING_NS - 1)));
        let last = run_server(&mut answered).last().map(|(_, due)| *due);
        assert_eq!(last, ends, "no 100 behind {status}");
    }
}

#[test]
fn an_invite_that_is_accepted() {
    // RFC 6026 §7.1: "any retransmissions of the INVITE received will match this transaction state machine and
    // will be absorbed by the machine without changing its state"; "The server transaction MUST NOT generate
    // 2xx retransmissions on its own. Any retransmission of the 2xx response passed from the TU to the
    // transaction while in the "Accepted" state MUST be passed to the transport layer"; "Any ACKs received from
    // the network while in the "Accepted" state MUST be passed directly to the TU and not absorbed."
    let mut server = Server::invite(START);
    assert!(server.on_response(200, START));
    assert_eq!((server.state(), server.on_request()), (ServerState::Accepted, OnRequest::Absorb));
    assert!(server.on_response(200, after(SECOND)) && !server.on_response(486, after(SECOND)));
    assert_eq!(server.on_ack(after(SECOND)), OnAck::PassOn);
    assert_eq!(run_server(&mut server), [(32_000, ServerDue::End(Timer::L))]);
}

#[test]
fn another_request_is_answered_once() {
    let mut server = Server::other(START);
    // "Once in the "Trying" state, any further request retransmissions are discarded."
    assert_eq!(server.on_request(), OnRequest::Absorb);
    assert!(server.on_response(200, START));
    // "While in the "Completed" state, the server transaction MUST pass the final response to the transport
    // layer for retransmission whenever a retransmission of the request is received. Any other final responses
    // passed by the TU to the server transaction MUST be discarded".
    assert_eq!(server.on_request(), OnRequest::SendAgain);
    assert!(!server.on_response(200, START) && !server.on_response(404, START));
    assert_eq!(run_server(&mut server), [(32_000, ServerDue::End(Timer::J))]);
}

#[test]
fn another_request_gets_a_late_100() {
    // RFC 4320 §4.1: "An SIP element MUST NOT respond to a non-INVITE request with a Status-Code of 100 over
    // any unreliable transport, such as UDP, before the amount of time it takes a client transaction's Timer E
    // to be reset to T2."
    let mut server = Server::other(START);
    assert_eq!(server.on_timer(after(LATE_TRYING_NS - 1)), ServerDue::Nothing);
    assert_eq!(run_server(&mut server), [(3_500, ServerDue::Trying(Timer::Late))]);
    assert_eq!(server.on_request(), OnRequest::SendAgain);
    let mut client = other(START);
    let mut reset = None;
    while reset.is_none() {
        let now = client.deadline();
        client.on_timer(now);
        reset = (client.deadline().0 - now.0 == T2_NS).then_some(now);
    }
    assert_eq!(reset, Some(after(LATE_TRYING_NS)));
}

/// RFC 3261 §17.1.1.2: "If a reliable transport is being used, the client transaction SHOULD NOT start timer A"; Timers D,
/// I, J and K are "zero seconds for reliable transports".
#[test]
fn over_reliable_transports_nothing_is_sent_again_and_nothing_waited_for() {
    let timed_out = |timer| [(32_000, ClientDue::TimedOut(timer))];
    assert_eq!(run_client(&mut invite(START).over(true)), timed_out(Timer::B));
    assert_eq!(run_client(&mut other(START).over(true)), timed_out(Timer::F));
    for (mut client, status, timer) in
        [(invite(START).over(true), 486, Timer::D), (other(START).over(true), 200, Timer::K)]
    {
        assert!(client.on_response(status, START).passes);
        assert_eq!(run_client(&mut client), [(0, ClientDue::End(timer))]);
    }
    // What was accepted may be so on other branches, too: RFC 6026's L and M are for all transports.
    let mut accepted = invite(START).over(true);
    accepted.on_response(200, START);
    assert_eq!(run_client(&mut accepted), [(32_000, ClientDue::End(Timer::M))]);

    let mut refused = Server::invite(START).over(true);
    refused.on_response(486, START);
    assert_eq!(run_server(&mut refused.clone()), [(32_000, ServerDue::End(Timer::H))]);
    refused.on_ack(START);
    assert_eq!(run_server(&mut refused), [(0, ServerDue::End(Timer::I))]);
    let mut answered = Server::other(START).over(true);
    answered.on_response(200, START);
    assert_eq!(run_server(&mut answered), [(0, ServerDue::End(Timer::J))]);
}

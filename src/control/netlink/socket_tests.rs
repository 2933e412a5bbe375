//! Answers from a peer that is not the kernel, numbered as the kernel would never number them.

use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use super::super::dump;
use super::*;

/// A requester, and the far end of its socket.
fn pair() -> (Requester, UnixDatagram) {
    let (near, far) = UnixDatagram::pair().expect("a pair of sockets");
    near.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    // SAFETY: `into_raw_fd` gives up the descriptor, which is open and nobody else's now.
    let socket = unsafe { Socket::from_raw_fd(near.into_raw_fd()) };
    (Requester::new(socket), far)
}

/// One entry of a list with this content, in a datagram of its own.
fn entry(sequence: u32, content: u8) -> Vec<u8> {
    Request::new(libc::RTM_NEWADDR, libc::NLM_F_MULTI as u16, &[content; 4]).finish(sequence)
}

fn done(sequence: u32) -> Vec<u8> {
    Request::new(libc::NLMSG_DONE as u16, libc::NLM_F_MULTI as u16, &[0; 4]).finish(sequence)
}

/// What `ask` comes to, and the contents of the messages that it gives.
fn ask(requester: &mut Requester) -> (Result<End, Error>, Vec<u8>) {
    let mut contents = Vec::new();
    let request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP as u16, &[0; 8]);
    let end = requester.ask(Object::Addresses, request, |message| {
        contents.push(*message.payload.first()?);
        Some(())
    });
    (end, contents)
}

fn send(far: &UnixDatagram, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        far.send(datagram).expect("it is sent");
    }
}

#[test]
fn older_answers_are_passed_over() {
    let (mut requester, far) = pair();
    requester.sequence = 6;
    send(&far, &[entry(5, 50), done(5), entry(7, 70), entry(6, 60), done(6), done(7)]);
    let (end, contents) = ask(&mut requester);
    assert_eq!((end.expect("an end"), contents), (End::Complete, vec![70]));
}

#[test]
fn numbers_wrap_around() {
    let (mut requester, far) = pair();
    requester.sequence = u32::MAX;
    send(&far, &[entry(u32::MAX, 9), done(u32::MAX), entry(0, 1), done(0)]);
    let (end, contents) = ask(&mut requester);
    assert_eq!((end.expect("an end"), contents), (End::Complete, vec![1]));
}

#[test]
fn an_answer_ahead_of_the_question_is_an_error_at_once_and_never_taken() {
    for ahead in [[entry(2, 20), done(2)], [done(2), entry(2, 20)]] {
        let (mut requester, far) = pair();
        send(&far, &[entry(1, 10)]);
        send(&far, &ahead);
        let start = Instant::now();
        let (end, contents) = ask(&mut requester);
        assert!(matches!(end, Err(Error::OutOfStep { object: Object::Addresses })), "{end:?}");
        assert_eq!(contents, [10]);
        assert!(start.elapsed() < Duration::from_secs(1), "it waited for more");

        // The next question has another number, also than what is left of that answer.
        let kernel = std::thread::spawn(move || {
            let mut question = [0; 64];
            far.recv(&mut question).expect("the first question");
            far.recv(&mut question).expect("the second question");
            let number = u32::from_ne_bytes(question[8..12].try_into().expect("four bytes"));
            send(&far, &[entry(2, 20), done(2), entry(number, 30), done(number)]);
            number
        });
        let (end, contents) = ask(&mut requester);
        assert_eq!((end.expect("an end"), contents), (End::Complete, vec![30]));
        assert_eq!(kernel.join().expect("it answers"), 3);
    }
}

/// `NLM_F_DUMP_INTR` on any message of a list, also on its last: what it tells of changed while it was made.
#[test]
fn a_list_that_was_interrupted_is_not_taken() {
    const INTERRUPTED: u16 = 0x10;
    let flagged = |mut message: Vec<u8>| {
        message[6..8].copy_from_slice(&(libc::NLM_F_MULTI as u16 | INTERRUPTED).to_ne_bytes());
        message
    };
    for list in [
        [flagged(entry(1, 10)), entry(1, 20), done(1)],
        [entry(1, 10), flagged(entry(1, 20)), done(1)],
        [entry(1, 10), entry(1, 20), flagged(done(1))],
    ] {
        let (mut requester, far) = pair();
        send(&far, &list);
        assert_eq!(ask(&mut requester).0.expect("an end"), End::Interrupted);
        // The next list is read by itself.
        send(&far, &[entry(2, 30), done(2)]);
        assert_eq!(ask(&mut requester).0.expect("an end"), End::Complete);
    }
}

/// The real kernel's: a list that is not read to its end is still under way when the next one is asked for.
#[test]
fn a_list_follows_one_that_was_abandoned() {
    let mut requester = Requester::open().expect("a netlink socket");
    let request = || Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16, &[0; 16]);
    let end = requester.ask(Object::Links, request(), |_| None);
    assert!(matches!(end, Err(Error::Malformed { object: Object::Links })), "{end:?}");
    let mut links = 0;
    let end = requester.ask(Object::Links, request(), |_| {
        links += 1;
        Some(())
    });
    assert_eq!(end.expect("an end"), End::Complete);
    assert!(links > 0);
}

/// A gap in the numbers while the tables are read: they are read again, whole.
#[test]
fn a_reading_that_falls_out_of_step_is_repeated() {
    let mut requester = Requester::open().expect("a netlink socket");
    let whole = dump::load(&mut requester).expect("the tables").fib(1).entries();
    // The kernel's answer to this one is ahead of the next question.
    let ahead = requester.sequence + 9;
    let request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16, &[0; 16]);
    requester.socket.send(&request.finish(ahead), 0).expect("it is sent");
    let again = dump::load(&mut requester).expect("the tables, read again").fib(1).entries();
    assert!(requester.sequence > ahead, "it was out of step");
    assert_eq!(whole, again);
}

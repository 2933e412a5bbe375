//! Tokens bring home what they were made for, and nothing else.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

const OLD: &str = "000102030405060708090a0b0c0d0e0f";
const NEW: &str = "f0e0d0c0b0a090807060504030201000";

/// 2026-11-24T09:30:00Z
fn morning() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_512_600)
}

fn keys(text: &str) -> Keys {
    Keys::parse(text, morning()).unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn branch() -> Branch {
    Branch {
        owner: 1_000,
        stateful: false,
        peer: 0xabcd,
        ingress: 0xdead_beef,
        connection: 7,
        transaction: 0x0123_4567_89ab_cdef,
    }
}

fn written(branch: &Branch, keys: &Keys, to: SocketAddr) -> [u8; BRANCH_LEN] {
    let mut out = [0; BRANCH_LEN];
    branch.write(keys, keys.signer(), to, &mut out);
    out
}

/// Why a branch brings nothing home.
#[derive(Debug, PartialEq)]
enum Not {
    OurForm,
    Ours,
}

fn read(branch: &[u8], keys: &Keys, to: SocketAddr) -> Result<Branch, Not> {
    let claim = Branch::claim(branch).ok_or(Not::OurForm)?;
    if claim.is_true(keys, to) { Ok(claim.says) } else { Err(Not::Ours) }
}

fn transaction(keys: &Keys, transaction: &Transaction<'_>) -> TransactionKey {
    TransactionKey::new(&keys.transaction_secret(), transaction)
}

#[test]
fn a_branch_has_its_form() {
    let out = written(&branch(), &keys(OLD), addr("192.0.2.1:5060"));
    let text = std::str::from_utf8(&out).unwrap();
    assert_eq!(text.len(), 56);
    // RFC 3261 §8.1.1.7: "The branch ID inserted by an element compliant with this specification
    // MUST always begin with the characters "z9hG4bK"."
    // The owner, 1,000 = 31 · 32 + 8, stands in the two digits behind version and mode.
    assert!(text.starts_with("z9hG4bKbs7i"), "{text}");
    assert!(text[7..].bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{text}");
    assert_eq!(Branch::owner_named(&out), Some(1_000));
}

#[test]
fn a_branch_comes_home_to_its_destination_only() {
    let keys = keys(OLD);
    let out = written(&branch(), &keys, addr("192.0.2.1:5060"));
    assert_eq!(read(&out, &keys, addr("192.0.2.1:5060")), Ok(branch()));
    assert_eq!(read(&out, &keys, addr("[::ffff:192.0.2.1]:5060")), Ok(branch()));
    for elsewhere in ["192.0.2.1:5061", "192.0.2.2:5060", "[2001:db8::1]:5060"] {
        assert_eq!(read(&out, &keys, addr(elsewhere)), Err(Not::Ours), "{elsewhere}");
    }
}

#[test]
fn a_foreign_branch_is_told_from_a_forged_one() {
    let keys = keys(OLD);
    let to = addr("192.0.2.1:5060");
    let ours = written(&branch(), &keys, to);
    for foreign in [
        &b""[..],
        b"z9hG4bK",
        b"z9hG4bK776asdhds",
        b"1",
        &ours[..BRANCH_LEN - 1],
        &[&ours[..], b"a"].concat(),
        b"z9hG4bKcsaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"z9hG4bKbuaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        assert_eq!(read(foreign, &keys, to), Err(Not::OurForm));
    }
    let guessed = b"z9hG4bKbsaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_eq!(guessed.len(), BRANCH_LEN);
    assert_eq!(read(guessed, &keys, to), Err(Not::Ours));
}

#[test]
fn a_neighbour_that_folds_case_does_no_harm() {
    let keys = keys(OLD);
    let to = addr("192.0.2.1:5060");
    let folded = written(&branch(), &keys, to).map(|b| b.to_ascii_lowercase());
    assert_eq!(read(&folded, &keys, to), Ok(branch()));
}

#[test]
fn one_purpose_does_not_serve_another() {
    use keys::Purpose::{Branch, NextHop, Ping, RecordRoute, ToTag};
    let keys = keys(OLD);
    let (purposes, before) = ([Branch, RecordRoute, ToTag, Ping, NextHop], [*b"the same bytes.."]);
    for (at, purpose) in purposes.iter().enumerate() {
        let mac = keys.sign(keys.signer(), &before, purpose.last(7));
        for (of, other) in purposes.iter().enumerate() {
            assert_eq!(keys.verify(&before, other.last(7), mac), at == of);
        }
    }
}

#[test]
fn no_byte_moves_from_one_part_to_the_next() {
    let keys = keys(OLD);
    let out = token_text(&pair().0, &keys, b"call", b"tag");
    assert!(verify(&out, &keys, b"call", b"tag", b"x").is_some());
    assert!(verify(&out, &keys, b"callt", b"ag", b"x").is_none());
}

fn token_text(token: &RecordRoute, keys: &Keys, call_id: &[u8], from_tag: &[u8]) -> [u8; RECORD_ROUTE_LEN] {
    token.written(keys, &Dialog { signer: keys.signer(), call_id, from_tag })
}

/// Reads a token for itself.
fn verify(user: &[u8], keys: &Keys, call_id: &[u8], from_tag: &[u8], to_tag: &[u8]) -> Option<Verified> {
    Verifier::new(keys, call_id, from_tag, to_tag).read(user)
}

/// The two values of a pair: the initiator's side and the responder's.
fn pair() -> (RecordRoute, RecordRoute) {
    let near =
        RecordRoute { initiator: 11, responder: 22, side: Side::Initiator, paired: true, stateful: false };
    (near, RecordRoute { side: Side::Responder, ..near })
}

#[test]
fn either_value_of_a_pair_tells_who_sends_and_where_it_leaves() {
    let keys = keys(OLD);
    for token in [pair().0, pair().1] {
        let user = token_text(&token, &keys, b"call-id", b"alice");
        assert_eq!(user.len(), 32);
        assert!(RecordRoute::looks_like(&user));
        let from_initiator = verify(&user, &keys, b"call-id", b"alice", b"bob").unwrap();
        assert_eq!(from_initiator, Verified { token, sender: Side::Initiator, flow: None });
        assert_eq!((from_initiator.ingress(), from_initiator.egress()), (11, 22));
        let from_responder = verify(&user, &keys, b"call-id", b"bob", b"alice").unwrap();
        assert_eq!(from_responder, Verified { token, sender: Side::Responder, flow: None });
        assert_eq!((from_responder.ingress(), from_responder.egress()), (22, 11));
        assert_eq!(verify(&user, &keys, b"call-id", b"carol", b"bob"), None);
        assert_eq!(verify(&user, &keys, b"call-ix", b"alice", b"bob"), None);
    }
}

#[test]
fn a_mate_is_known_and_nothing_else_by_the_first_value_of_a_pair() {
    let keys = keys(OLD);
    let (near, far) = pair();
    let text = |token: &RecordRoute| token_text(token, &keys, b"call-id", b"alice");
    for (from, to) in [(&b"alice"[..], &b"bob"[..]), (b"bob", b"alice"), (b"alice", b"alice")] {
        for (first, second) in [(near, far), (far, near)] {
            let mut verifier = Verifier::new(&keys, b"call-id", from, to);
            let of = |token: &RecordRoute| verify(&text(token), &keys, b"call-id", from, to);
            assert_eq!(verifier.read(&text(&first)), of(&first));
            assert_eq!(verifier.read(&text(&second)), of(&second));
            for other in [RecordRoute { responder: 23, ..second }, RecordRoute { paired: false, ..second }] {
                assert_eq!(verifier.read(&text(&other)), of(&other));
                assert!(of(&other).is_some());
            }
            let mut forged = text(&second);
            forged[20] = if forged[20] == b'a' { b'b' } else { b'a' };
            assert_eq!(verifier.read(&text(&first)), of(&first));
            assert_eq!(verifier.read(&forged), None);
        }
    }
}

#[test]
fn a_pair_has_one_mac_and_tells_its_sides_by_what_it_says() {
    let keys = keys(OLD);
    let [near, far] = [pair().0, pair().1].map(|token| token_text(&token, &keys, b"call-id", b"alice"));
    assert_ne!(near[..PART_LEN], far[..PART_LEN]);
    assert_eq!(near[PART_LEN..], far[PART_LEN..]);
}

#[test]
fn what_is_written_in_one_go_is_what_is_written_alone() {
    let keys = keys(&format!("{NEW}\n{OLD} retired=2026-11-24T09:00:00Z"));
    for (signer, to) in [(keys.signer(), "192.0.2.1:5060"), (self::keys(OLD).signer(), "[2001:db8::1]:5061")]
    {
        let (to, dialog) = (addr(to), Dialog { signer, call_id: b"call-id", from_tag: b"alice" });
        for token in [None, Some(pair().1)] {
            let (parts, mac) =
                parts_onward(&keys, &branch(), to, token.map(|token| token.covered()), &dialog);
            let texts = base32_texts(&[parts[0], parts[1], parts[2], mac]);
            let mut alone = [0; BRANCH_LEN];
            branch().write(&keys, signer, to, &mut alone);
            assert_eq!(texts[..3].as_flattened()[..45], alone[BRANCH_LEN - 45..]);
            if let Some(token) = token {
                assert_eq!(texts[3], token.written(&keys, &dialog)[PART_LEN..]);
            }
        }
    }
}

/// Viaducts that share a key read each other's tokens: once there is a release, a change of these is a new version. The
/// values are those of another program, made after the descriptions alone with OpenSSL's AES.
#[test]
fn tokens_are_what_they_were() {
    let keys = keys(OLD);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut tag = [0; TO_TAG_LEN];
    let key =
        transaction(&keys, &Transaction::Rfc3261 { branch: b"z9hG4bK776asdhds", sent_by: b"192.0.2.1" });
    ToTag::write(&keys, key, &mut tag);
    assert_eq!(format!("{:032x}", key.0), "95eabadd2af6122d63ab774e238834c9");
    assert_eq!(text(&tag), "frvho6bn46msxuos");
    for (to, wanted) in [
        ("192.0.2.1:5060", "z9hG4bKbs7ivpg55ln654aaaaahaerukz4jvpg67bwb4xnml2wz4isfk"),
        ("[2001:db8::1]:5060", "z9hG4bKbs7ivpg55ln654aaaaahaerukz4jvpg67gyejwhdluy7l7ens"),
    ] {
        assert_eq!(text(&written(&branch(), &keys, addr(to))), wanted);
    }
    let token = token_text(&pair().0, &keys, b"a84b4c76e66710@192.0.2.1", b"1928301774");
    assert_eq!(text(&token), "aebaaaaabmaaaaawngubews6eqkilqns");
}

/// The values with one other digit that verify.
fn verified_with_another_digit(user: &[u8], keys: &Keys) -> Vec<Vec<u8>> {
    let digits = || (b'a'..=b'z').chain(b'2'..=b'7');
    let changed = (0..user.len()).flat_map(|at| digits().map(move |digit| (at, digit)));
    let changed = changed.filter(|&(at, digit)| user[at] != digit).map(|(at, digit)| {
        let mut user = user.to_vec();
        user[at] = digit;
        user
    });
    changed.filter(|user| verify(user, keys, b"call-id", b"alice", b"bob").is_some()).collect()
}

/// The bit that a pair's MAC leaves out.
#[test]
fn of_a_pairs_value_nothing_can_be_made_but_its_mate() {
    let keys = keys(OLD);
    let [near, far] = <[_; 2]>::from(pair()).map(|token| token_text(&token, &keys, b"call-id", b"alice"));
    assert_eq!(verified_with_another_digit(&near, &keys), [far]);
    assert_eq!(verified_with_another_digit(&far, &keys), [near]);
    let dialog = Dialog { signer: keys.signer(), call_id: b"call-id", from_tag: b"alice" };
    let flow = Flow { peer: addr("192.0.2.9:40000"), connection: 1, serial: 2, mark: 7 };
    for token in <[_; 2]>::from(pair()) {
        let with_flow = token.with_flow(&flow, &keys, &dialog);
        assert!(verify(&with_flow, &keys, b"call-id", b"alice", b"bob").is_some());
        assert!(verified_with_another_digit(&with_flow, &keys).is_empty());
    }
}

#[test]
fn one_tag_for_both_directions_is_told_by_the_side() {
    let keys = keys(OLD);
    for token in [pair().0, pair().1] {
        let user = token_text(&token, &keys, b"c", b"same");
        let verified = verify(&user, &keys, b"c", b"same", b"same").unwrap();
        assert_eq!(verified.sender, token.side);
    }
}

#[test]
fn an_ordinary_user_is_no_token() {
    for user in [&b"alice"[..], b"", b"+4930123456", b"bob%40example", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        assert!(!RecordRoute::looks_like(user));
    }
}

#[test]
fn a_to_tag_belongs_to_one_transaction() {
    let keys = keys(OLD);
    let of = |branch| transaction(&keys, &Transaction::Rfc3261 { branch, sent_by: b"192.0.2.1" });
    let (one, other) = (of(b"z9hG4bK1"), of(b"z9hG4bK2"));
    let mut tag = [0; TO_TAG_LEN];
    ToTag::write(&keys, one, &mut tag);
    assert_eq!(tag.len(), 16);
    assert!(ToTag::verify(&keys, one, &tag));
    assert!(!ToTag::verify(&keys, other, &tag));
    assert!(!ToTag::verify(&keys, one, b""));
    assert!(!ToTag::verify(&keys, one, b"aaaaaaaaaaaaaaaa"));
}

#[test]
fn every_part_of_a_transaction_counts_and_keeps_its_place() {
    let keys = keys(OLD);
    let old = |via, from_tag, call_id, cseq, request_uri| {
        transaction(&keys, &Transaction::Rfc2543 { via, from_tag, call_id, cseq, request_uri })
    };
    let new = |branch, sent_by| transaction(&keys, &Transaction::Rfc3261 { branch, sent_by });
    let all = [
        new(b"z9hG4bKa", b"h"),
        new(b"z9hG4bKb", b"h"),
        new(b"z9hG4bKa", b"i"),
        new(b"z9hG4bKah", b""),
        new(b"z9hG4bKa", b"h\0"),
        old(b"v", b"f", b"c", 1, b"u"),
        old(b"w", b"f", b"c", 1, b"u"),
        old(b"v", b"g", b"c", 1, b"u"),
        old(b"v", b"f", b"d", 1, b"u"),
        old(b"v", b"f", b"c", 2, b"u"),
        old(b"v", b"f", b"c", 1, b"x"),
        old(b"vf", b"", b"c", 1, b"u"),
    ];
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            assert_ne!(a, b);
        }
    }
    assert_eq!(new(b"z9hG4bKa", b"h"), all[0]);
}

/// Viaducts that take over from each other have to agree on it: it must not change unnoticed.
#[test]
fn the_owner_of_a_call_is_what_its_description_says() {
    const M: u64 = 0x9fb2_1c65_1e98_df25;
    let step = |h: u64, word: u64| {
        let h = (h ^ word).wrapping_mul(M);
        h ^ (h >> 29)
    };
    let owner = |words: &[u64]| {
        let h = words.iter().fold(0x243f_6a88_85a3_08d3, |h, &word| step(h, word));
        ((((h ^ (h >> 32)) >> 32) * 600) >> 32) as u16
    };
    let word = |text: &[u8; 8]| u64::from_le_bytes(*text);
    for (call_id, words) in [
        (&b"3848276298"[..], &[word(b"38482762"), word(b"98\0\0\0\0\0\0"), 10, 0][..]),
        (b"a84b4c76", &[word(b"a84b4c76"), 8, 0]),
        (b"a:1", &[word(b"a:1\0\0\0\0\0"), 3, 0]),
        (b"", &[0, 0]),
    ] {
        assert_eq!(owner_of_call(call_id, 600), owner(words));
    }
}

#[test]
fn a_new_key_signs_and_the_old_one_still_verifies() {
    let before = keys(OLD);
    let after = keys(&format!("{NEW}\n{OLD} retired=2026-11-24T09:00:00Z"));
    let to = addr("192.0.2.1:5060");
    assert_eq!(after.count(), 2);
    assert_eq!(read(&written(&branch(), &before, to), &after, to), Ok(branch()));
    assert_eq!(read(&written(&branch(), &after, to), &before, to), Err(Not::Ours));
    // A retransmission keeps the branch that the old key signed.
    let mut again = [0; BRANCH_LEN];
    branch().write(&after, before.signer(), to, &mut again);
    assert_eq!(again, written(&branch(), &before, to));
    // A signer that is gone is replaced by the first key.
    branch().write(&before, after.signer(), to, &mut again);
    assert_eq!(again, written(&branch(), &before, to));
}

#[test]
fn a_retired_key_verifies_for_a_day() {
    let before = keys(OLD);
    let to = addr("192.0.2.1:5060");
    let signed = written(&branch(), &before, to);
    let after = keys(&format!("{NEW}\n{OLD} retired=2026-11-24T09:30:00Z"));
    let expiry = morning() + RETIRED_VERIFIES;
    assert_eq!(after.next_expiry(), Some(expiry));
    let last_moment = after.valid_at(expiry - Duration::from_secs(1));
    assert_eq!(read(&signed, &last_moment, to), Ok(branch()));
    let next_day = after.valid_at(expiry);
    assert_eq!(read(&signed, &next_day, to), Err(Not::Ours));
    assert_eq!(next_day.next_expiry(), None);
    assert_eq!(next_day.signer(), after.signer());
    let read_next_day = Keys::parse(&format!("{NEW}\n{OLD} retired=2026-11-24T09:30:00Z"), expiry).unwrap();
    assert_eq!(read_next_day.count(), 1);
}

#[test]
fn a_key_file_says_what_is_wrong_and_where() {
    let many: String = (0..=crate::limits::KEYS).map(|n| format!("{n:032x}\n")).collect();
    for (text, line, problem) in [
        ("", 1, KeyLineError::Empty),
        ("# only\n\n# comments\n", 3, KeyLineError::Empty),
        ("abc", 1, KeyLineError::NotAKey),
        ("\n000102030405060708090a0b0c0d0e0g", 2, KeyLineError::NotAKey),
        ("+00102030405060708090a0b0c0d0e0f", 1, KeyLineError::NotAKey),
        (&format!("{OLD} key"), 1, KeyLineError::UnknownWord),
        (&format!("{NEW}\n{OLD} retired=2026-11-24T09:30:00Z x"), 2, KeyLineError::UnknownWord),
        (&format!("{NEW}\n{OLD} retired=yesterday"), 2, KeyLineError::NotATime),
        (&format!("{OLD} retired=2026-11-24T09:30:00Z"), 1, KeyLineError::FirstIsRetired),
        (&format!("{OLD}\n{NEW}\n{OLD}"), 3, KeyLineError::Twice),
        (&many, 9, KeyLineError::TooMany),
    ] {
        assert_eq!(Keys::parse(text, morning()).unwrap_err(), (line, problem), "{text}");
    }
    let both = keys(&format!("# first\n\n  {NEW}  # signs\r\n{}", OLD.to_uppercase()));
    assert_eq!(both.count(), 2);
    assert_eq!(both.next_expiry(), None);
}

#[test]
fn what_is_printed_for_debugging_tells_no_secret() {
    let text = format!("{:?} {:?}", keys(OLD), keys(OLD).transaction_secret());
    assert!(
        text.contains("KeyId") && !text.contains(OLD) && !text.contains("prf") && !text.contains("cipher"),
        "{text}"
    );
}

#[test]
fn two_throw_away_keys_differ() {
    assert_ne!(Keys::ephemeral().unwrap().signer(), Keys::ephemeral().unwrap().signer());
}

#[test]
fn a_key_file_is_made_once_and_read_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("viaduct.keys");
    let made = Keys::load_or_create(&path, morning()).unwrap();
    assert!(made.created && made.warnings.is_empty());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = Keys::load_or_create(&path, morning()).unwrap();
    assert!(!again.created);
    assert_eq!(again.keys.signer(), made.keys.signer());
    assert_eq!(Keys::load(&path, morning()).unwrap().keys.signer(), made.keys.signer());
}

#[test]
fn a_key_file_that_others_may_read_or_change_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("viaduct.keys");
    std::fs::write(&path, OLD).unwrap();
    let with_mode = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Keys::load_or_create(&path, morning())
    };
    for mode in [0o644, 0o602, 0o620, 0o604] {
        let message = with_mode(mode).unwrap_err().to_string();
        assert!(message.contains(&format!("mode {mode:04o}")), "{message}");
        assert!(message.contains("chmod 600"), "{message}");
    }
    assert_eq!(with_mode(0o640).unwrap().warnings.len(), 1);
    assert!(with_mode(0o400).unwrap().warnings.is_empty());
}

/// What `chmod` would do to it is never advised.
#[test]
fn what_is_no_file_is_no_key_file() {
    let folder = tempfile::tempdir().unwrap();
    for (path, what) in
        [(folder.path(), "a directory"), (std::path::Path::new("/dev/null"), "a device, pipe or socket")]
    {
        let wanted = format!("{} is {what}, and no key file; name a file in [keys] file", path.display());
        assert_eq!(Keys::check(path, morning()).unwrap_err().to_string(), wanted);
        assert_eq!(Keys::load_or_create(path, morning()).unwrap_err().to_string(), wanted);
    }
}

#[test]
fn a_key_file_that_cannot_be_had_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("no/such/viaduct.keys");
    let message = Keys::load_or_create(&absent, morning()).unwrap_err().to_string();
    assert!(message.starts_with("there is no folder for the key file"), "{message}");
    assert!(message.contains(&format!("mkdir -p {}", folder.path().join("no/such").display())), "{message}");
    assert_eq!(Keys::check(&absent, morning()).unwrap_err().to_string(), message);
    let message = Keys::load(&absent, morning()).unwrap_err().to_string();
    assert!(message.starts_with("cannot read the key file"), "{message}");
    let path = folder.path().join("broken.keys");
    std::fs::write(&path, format!("{OLD}\nnonsense\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let message = Keys::load(&path, morning()).unwrap_err().to_string();
    assert!(message.ends_with("broken.keys:2: a key is 32 hexadecimal digits"), "{message}");
    std::fs::write(&path, " ".repeat(crate::limits::KEY_FILE_BYTES + 1)).unwrap();
    assert!(matches!(Keys::load(&path, morning()), Err(KeyFileError::TooLarge { .. })));
}

/// As nobody, where it matters: root may write everywhere.
fn as_nobody<T: Send>(question: impl FnOnce() -> T + Send) -> T {
    let ask = || {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
        question()
    };
    std::thread::scope(|scope| scope.spawn(ask).join().unwrap())
}

#[test]
fn a_check_says_what_a_start_would_say_where_no_file_can_be_made_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("viaduct.keys");
    let both = || {
        let check = Keys::check(&path, morning()).map(|_| ()).map_err(|error| error.to_string());
        let run = Keys::load_or_create(&path, morning()).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(check, run);
        check
    };
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let message = as_nobody(both).unwrap_err();
    let remedy = format!("write to {}", folder.path().display());
    assert!(message.contains("Permission denied") && message.contains(&remedy), "{message}");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&path, OLD).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let message = as_nobody(both).unwrap_err();
    assert!(message.starts_with("cannot read the key file") && message.contains("chown"), "{message}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(Keys::check(&path, morning()).unwrap(), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it makes nothing");
}

fn any_branch() -> impl Strategy<Value = Branch> {
    (0u16..1_024, any::<bool>(), any::<u16>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
        |(owner, stateful, peer, ingress, connection, transaction)| Branch {
            owner,
            stateful,
            peer,
            ingress,
            connection,
            transaction,
        },
    )
}

proptest! {
    #[test]
    fn a_branch_says_what_was_written(branch in any_branch(), secret: [u8; 16], ip: u32, port: u16) {
        let keys = Keys::from_secret(&secret);
        let to = SocketAddr::new(std::net::Ipv4Addr::from(ip).into(), port);
        let out = written(&branch, &keys, to);
        prop_assert_eq!(out, written(&branch, &keys, to));
        prop_assert_eq!(read(&out, &keys, to), Ok(branch));
        prop_assert_eq!(Branch::unverified(&out), Some(branch));
        // Nobody makes a stateless branch a stateful one.
        let mut other = out;
        other[8] = if branch.stateful { b's' } else { b't' };
        prop_assert_eq!(read(&other, &keys, to), Err(Not::Ours));
    }

    /// Any changed bit; in the cookie a bit of case may change, see `shape`.
    #[test]
    fn a_changed_branch_never_verifies(branch in any_branch(), at in 0..BRANCH_LEN, bit in 0u8..8) {
        let keys = keys(OLD);
        let to = addr("[2001:db8::1]:5060");
        let mut out = written(&branch, &keys, to);
        out[at] ^= 1 << bit;
        let case = at < COOKIE.len() && bit == 5 && out[at].is_ascii_alphabetic();
        prop_assert_eq!(read(&out, &keys, to).is_ok(), case);
    }

    #[test]
    fn a_changed_route_token_never_verifies(
        initiator: u32,
        responder: u32,
        at in 0..RECORD_ROUTE_LEN,
        bit in 0u8..8,
        call_id: [u8; 8],
    ) {
        let keys = keys(OLD);
        let token = RecordRoute { initiator, responder, side: Side::Responder, paired: false, stateful: true };
        let mut user = token_text(&token, &keys, &call_id, b"tag");
        prop_assert_eq!(
            verify(&user, &keys, &call_id, b"tag", b"other").map(|v| v.token),
            Some(token)
        );
        user[at] ^= 1 << bit;
        prop_assert_eq!(verify(&user, &keys, &call_id, b"tag", b"other"), None);
    }

    #[test]
    fn a_changed_to_tag_never_verifies(hash: u128, at in 0..TO_TAG_LEN, bit in 0u8..8) {
        let keys = keys(OLD);
        let key = TransactionKey(hash);
        let mut tag = [0; TO_TAG_LEN];
        ToTag::write(&keys, key, &mut tag);
        prop_assert!(ToTag::verify(&keys, key, &tag));
        tag[at] ^= 1 << bit;
        prop_assert!(!ToTag::verify(&keys, key, &tag));
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let keys = keys(OLD);
        prop_assert!(read(&bytes, &keys, addr("192.0.2.1:5060")).is_err());
        prop_assert!(verify(&bytes, &keys, b"", b"", b"").is_none());
        let _ = Branch::owner_named(&bytes);
        let _ = Keys::parse(&String::from_utf8_lossy(&bytes), morning());
    }
}

use std::time::Duration;

use super::*;

pub(super) fn settings() -> Settings {
    Settings {
        min_ttl: s(10),
        max_ttl: s(3_600),
        negative_ttl: s(60),
        stale: s(1_000),
        names: crate::limits::DNS_NAMES,
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn leads(last: u8, ttl_s: u32) -> Outcome {
    let addresses = [[192, 0, 2, last].into()].into();
    let target = Target { rank: 0, weight: 0, transport: Transport::Udp, port: 5060, addresses };
    Outcome { resolution: Ok(Found { targets: [target].into(), stale: false }), ttl_s, partial: false }
}

fn fails() -> Outcome {
    Outcome { resolution: Err(Unresolved::Failed), ttl_s: 5, partial: false }
}

fn absent(ttl_s: u32) -> Outcome {
    Outcome { resolution: Err(Unresolved::NoSuchName), ttl_s, partial: false }
}

/// What shards see of a name: the last octet and whether it is stale, or why there is none.
fn seen(keeper: &mut Keeper, text: &str) -> Option<Result<(String, bool), Unresolved>> {
    keeper.publish();
    let resolution = keeper.directory().get(&question(text))?;
    Some(
        resolution
            .as_ref()
            .map_err(|why| *why)
            .map(|found| (found.addresses().next().expect("an address").to_string(), found.stale)),
    )
}

/// Asks for all that is to be asked for again.
fn due(keeper: &mut Keeper, now: Duration) -> Vec<Question> {
    let Due { mut configured, others } = keeper.due(now);
    configured.extend(others);
    assert!(configured.iter().all(|question| keeper.begin(question)));
    configured
}

#[test]
fn a_name_is_asked_for_once_whoever_waits() {
    let mut keeper = Keeper::new(settings());
    let name = question("a.example");
    assert_eq!(keeper.want(name, s(1)), Ok(()));
    assert_eq!(keeper.want(name, s(1)), Err(Refused::Known));
    keeper.take(name, leads(1, 60), s(2));
    assert_eq!(keeper.want(name, s(3)), Err(Refused::Known));
    assert_eq!(seen(&mut keeper, "a.example"), Some(Ok(("192.0.2.1".into(), false))));
}

#[test]
fn names_of_the_configuration_are_asked_for_before_their_time_is_over() {
    let mut keeper = Keeper::new(settings());
    let name = question("gw.example");
    keeper.configure(settings(), [name]);
    assert_eq!(due(&mut keeper, s(0)), [name]);
    assert_eq!(due(&mut keeper, s(0)), [], "somebody is asking");
    keeper.take(name, leads(1, 100), s(0));
    assert_eq!(due(&mut keeper, s(74)), []);
    assert_eq!(due(&mut keeper, s(75)), [name]);
    keeper.take(name, leads(2, 100), s(76));
    assert_eq!(seen(&mut keeper, "gw.example"), Some(Ok(("192.0.2.2".into(), false))));
    // Once no rule names it any more, it goes when its time is over.
    keeper.configure(settings(), []);
    keeper.publish();
    due(&mut keeper, s(77));
    assert_eq!(due(&mut keeper, s(152)), [name], "it was used");
    keeper.take(name, leads(2, 100), s(152));
    assert_eq!(due(&mut keeper, s(252)), []);
    assert_eq!(seen(&mut keeper, "gw.example"), None);
}

#[test]
fn names_of_messages_are_asked_for_again_only_where_they_are_used() {
    let mut keeper = Keeper::new(settings());
    for text in ["used.example", "idle.example"] {
        keeper.want(question(text), s(0)).unwrap();
        keeper.take(question(text), leads(1, 100), s(0));
    }
    seen(&mut keeper, "used.example");
    assert_eq!(due(&mut keeper, s(80)), [question("used.example")]);
    keeper.take(question("used.example"), leads(1, 100), s(81));
    assert_eq!(due(&mut keeper, s(100)), []);
    assert_eq!(seen(&mut keeper, "idle.example"), None);
    assert!(seen(&mut keeper, "used.example").is_some());
}

#[test]
fn ttls_have_bounds() {
    for (ttl_s, holds) in [(0, 10), (9, 10), (100, 100), (86_400, 3_600)] {
        let mut keeper = Keeper::new(settings());
        keeper.configure(settings(), [question("a.example")]);
        due(&mut keeper, s(0));
        keeper.take(question("a.example"), leads(1, ttl_s), s(0));
        let again = s(holds) - s(holds) / 4;
        assert_eq!(due(&mut keeper, again - Duration::from_millis(1)), [], "{ttl_s}");
        assert_eq!(due(&mut keeper, again).len(), 1, "{ttl_s}");
    }
    for (ttl_s, holds) in [(0, 10), (30, 30), (3_600, 60)] {
        let mut keeper = Keeper::new(settings());
        keeper.want(question("a.example"), s(0)).unwrap();
        keeper.take(question("a.example"), absent(ttl_s), s(0));
        assert_eq!(seen(&mut keeper, "a.example"), Some(Err(Unresolved::NoSuchName)));
        keeper.take(question("a.example"), absent(ttl_s), s(0));
        due(&mut keeper, s(holds - 1));
        assert_eq!(keeper.counts().names, 1, "{ttl_s}");
        let mut quiet = Keeper::new(settings());
        quiet.want(question("a.example"), s(0)).unwrap();
        quiet.take(question("a.example"), absent(ttl_s), s(0));
        due(&mut quiet, s(holds));
        assert_eq!(quiet.counts().names, 0, "{ttl_s}");
    }
}

/// RFC 8767 §4: an answer stays in use where no server can tell, up to a limit.
#[test]
fn an_answer_outlives_its_time_where_no_server_can_tell() {
    let mut keeper = Keeper::new(settings());
    let name = question("gw.example");
    keeper.configure(settings(), [name]);
    due(&mut keeper, s(0));
    keeper.take(name, leads(1, 100), s(0));
    assert_eq!(due(&mut keeper, s(75)), [name]);
    keeper.take(name, fails(), s(80));
    assert_eq!(seen(&mut keeper, "gw.example"), Some(Ok(("192.0.2.1".into(), false))), "it still holds");
    assert_eq!(due(&mut keeper, s(84)), []);
    assert_eq!(due(&mut keeper, s(85)), [name], "there is still time");
    keeper.take(name, fails(), s(101));
    assert_eq!(seen(&mut keeper, "gw.example"), Some(Ok(("192.0.2.1".into(), true))));
    assert_eq!(keeper.counts().stale, 1);
    assert_eq!(due(&mut keeper, s(130)), []);
    assert_eq!(due(&mut keeper, s(131)), [name], "30 seconds later");
    keeper.take(name, leads(2, 100), s(150));
    assert_eq!(seen(&mut keeper, "gw.example"), Some(Ok(("192.0.2.2".into(), false))), "it is there again");
    due(&mut keeper, s(240));
    keeper.take(name, fails(), s(250 + 1_000));
    assert_eq!(seen(&mut keeper, "gw.example"), Some(Err(Unresolved::Failed)), "too old");
}

/// A domain that says it is gone is gone: serving stale answers is for servers that say nothing.
#[test]
fn an_answer_does_not_outlive_its_name() {
    let mut keeper = Keeper::new(settings());
    let name = question("gw.example");
    keeper.configure(settings(), [name]);
    due(&mut keeper, s(0));
    keeper.take(name, leads(1, 100), s(0));
    due(&mut keeper, s(80));
    keeper.take(name, absent(60), s(80));
    assert_eq!(seen(&mut keeper, "gw.example"), Some(Err(Unresolved::NoSuchName)));
}

#[test]
fn an_idle_name_comes_back_stale_where_no_server_can_tell() {
    let mut keeper = Keeper::new(settings());
    let name = question("a.example");
    keeper.want(name, s(0)).unwrap();
    keeper.take(name, leads(1, 100), s(0));
    due(&mut keeper, s(100));
    assert_eq!(seen(&mut keeper, "a.example"), None, "nobody gets an old answer unasked");
    assert_eq!(keeper.want(name, s(500)), Ok(()));
    keeper.take(name, fails(), s(505));
    assert_eq!(seen(&mut keeper, "a.example"), Some(Ok(("192.0.2.1".into(), true))));
    assert_eq!(due(&mut keeper, s(1_000)), [name], "used, so asked for again");
}

#[test]
fn made_up_names_push_out_each_other() {
    let mut keeper = Keeper::new(Settings { names: 100, ..settings() });
    let (configured, good) = (question("gw.example"), question("good.example"));
    keeper.configure(Settings { names: 100, ..settings() }, [configured]);
    due(&mut keeper, s(0));
    keeper.take(configured, absent(60), s(0));
    keeper.want(good, s(0)).unwrap();
    keeper.take(good, leads(1, 3_600), s(0));
    for n in 0..10_000 {
        let name = question(&format!("x{n}.example"));
        keeper.want(name, s(1) + Duration::from_millis(n)).unwrap();
        keeper.take(name, absent(60), s(1) + Duration::from_millis(n));
        assert!(keeper.counts().names <= 100);
    }
    assert_eq!(keeper.counts().evicted, 10_000 - 98);
    assert!(seen(&mut keeper, "good.example").is_some_and(|seen| seen.is_ok()));
    assert!(seen(&mut keeper, "gw.example").is_some());
    assert!(seen(&mut keeper, "x9999.example").is_some());
    assert!(seen(&mut keeper, "x1.example").is_none());
}

#[test]
fn of_names_that_lead_somewhere_the_one_used_least_recently_goes() {
    let mut keeper = Keeper::new(Settings { names: 2, ..settings() });
    for (text, at) in [("a.example", 0), ("b.example", 1)] {
        keeper.want(question(text), s(at)).unwrap();
        keeper.take(question(text), leads(1, 3_600), s(at));
    }
    seen(&mut keeper, "a.example");
    due(&mut keeper, s(5));
    keeper.want(question("c.example"), s(6)).unwrap();
    assert!(seen(&mut keeper, "a.example").is_some());
    assert!(seen(&mut keeper, "b.example").is_none());
}

#[test]
fn where_all_room_is_taken_by_names_under_way_one_more_is_refused() {
    let mut keeper = Keeper::new(Settings { names: 2, ..settings() });
    keeper.want(question("a.example"), s(0)).unwrap();
    keeper.want(question("b.example"), s(0)).unwrap();
    assert_eq!(keeper.want(question("c.example"), s(0)), Err(Refused::NoRoom));
}

#[test]
fn a_name_that_leads_nowhere_is_asked_for_again_only_by_who_needs_it() {
    for outcome in [absent(60), fails()] {
        let mut keeper = Keeper::new(settings());
        keeper.want(question("a.example"), s(0)).unwrap();
        keeper.take(question("a.example"), outcome, s(0));
        assert!(matches!(seen(&mut keeper, "a.example"), Some(Err(_))));
        assert_eq!(due(&mut keeper, s(60)), []);
        assert_eq!(seen(&mut keeper, "a.example"), None);
        assert_eq!(keeper.want(question("a.example"), s(61)), Ok(()));
    }
}

#[test]
fn a_name_that_nobody_uses_any_more_is_not_asked_for_again_because_no_server_can_tell() {
    let mut keeper = Keeper::new(settings());
    let name = question("a.example");
    keeper.want(name, s(0)).unwrap();
    keeper.take(name, leads(1, 100), s(0));
    seen(&mut keeper, "a.example");
    assert_eq!(due(&mut keeper, s(75)), [name], "it was used");
    keeper.take(name, fails(), s(101));
    assert_eq!(due(&mut keeper, s(131)), []);
    assert_eq!(seen(&mut keeper, "a.example"), None);
    assert_eq!(keeper.counts().names, 1, "it stays for the case that no server can tell");
}

#[test]
fn time_goes_on_while_somebody_is_asking() {
    for configured in [true, false] {
        let mut keeper = Keeper::new(settings());
        let name = question("a.example");
        keeper.configure(settings(), configured.then_some(name));
        keeper.want(name, s(0)).unwrap();
        keeper.take(name, leads(1, 100), s(0));
        seen(&mut keeper, "a.example");
        assert_eq!(due(&mut keeper, s(75)), [name]);
        due(&mut keeper, s(99));
        assert_eq!(seen(&mut keeper, "a.example"), Some(Ok(("192.0.2.1".into(), false))));
        due(&mut keeper, s(100));
        assert_eq!(seen(&mut keeper, "a.example"), Some(Ok(("192.0.2.1".into(), true))));
        due(&mut keeper, s(1_099));
        assert!(seen(&mut keeper, "a.example").is_some());
        due(&mut keeper, s(1_100));
        assert_eq!(seen(&mut keeper, "a.example"), None);
        assert_eq!(keeper.unresolved(), u64::from(configured));
        keeper.take(name, leads(2, 100), s(1_101));
        assert_eq!(seen(&mut keeper, "a.example"), Some(Ok(("192.0.2.2".into(), false))));
    }
}

#[test]
fn what_a_message_waits_for_does_not_wait_for_its_turn() {
    let mut keeper = Keeper::new(settings());
    let (name, other) = (question("gw.example"), question("other.example"));
    keeper.configure(settings(), [name]);
    keeper.want(other, s(0)).unwrap();
    keeper.take(other, leads(1, 100), s(0));
    seen(&mut keeper, "other.example");
    assert_eq!(keeper.due(s(80)), Due { configured: vec![name], others: vec![other] });
    assert_eq!(keeper.want(name, s(80)), Ok(()));
    assert!(!keeper.begin(&name), "it was asked for meanwhile");
    assert_eq!(keeper.want(other, s(80)), Err(Refused::Known));
    assert!(keeper.begin(&other) && !keeper.begin(&other));
}

#[test]
fn what_is_known_in_part_replaces_no_whole_answer_in_use() {
    let mut keeper = Keeper::new(settings());
    let name = question("gw.example");
    let part = |last| Outcome { partial: true, ..leads(last, 5) };
    let at = |last: u8, stale| Some(Ok((format!("192.0.2.{last}"), stale)));
    keeper.configure(settings(), [name]);
    due(&mut keeper, s(0));
    keeper.take(name, leads(1, 100), s(0));
    assert!(!keeper.take(name, part(2), s(80)));
    assert_eq!(seen(&mut keeper, "gw.example"), at(1, false));
    assert_eq!(due(&mut keeper, s(84)), [], "soon, but not at once");
    assert_eq!(due(&mut keeper, s(85)), [name]);
    // Its time is over, and it counts as stale.
    assert!(keeper.take(name, part(2), s(101)));
    assert_eq!(seen(&mut keeper, "gw.example"), at(1, true));
    // Something is more than nothing, and more of it more than less.
    assert!(keeper.take(name, part(2), s(1_101)));
    assert_eq!(seen(&mut keeper, "gw.example"), at(2, false));
    assert!(keeper.take(name, part(3), s(1_102)));
    assert_eq!(seen(&mut keeper, "gw.example"), at(3, false));
    assert!(keeper.take(name, leads(4, 100), s(1_103)));
    assert_eq!(seen(&mut keeper, "gw.example"), at(4, false));
}

use super::{ask, found, from, ip, net, on, refused, to, two_sided, via};
use crate::fib::spec::{Action, Family, Link, Masked, Ports, Rule};
use crate::fib::{Answer, Builder, NoRoute, Query};

/// A host whose table 7 leads out by `private`, under a rule that `change` refines.
fn under(change: impl FnOnce(Rule) -> Rule) -> Builder {
    let rule = change(Rule::new(Family::V4, 100, Action::Table(7)));
    two_sided().rule(rule).route(via("0.0.0.0/0", 3, "10.0.0.1").in_table(7))
}

fn selects(change: impl FnOnce(Rule) -> Rule, query: Query) -> bool {
    found(&under(change), &query).table == 7
}

const UDP: u8 = 17;

fn ports(first: u16, last: u16) -> Option<Ports> {
    Some(Ports { first, last, mask: 0 })
}

#[test]
fn each_selector_selects_what_it_says() {
    let query = to("192.0.2.7");
    let masked = |value, mask| Some(Masked { value, mask });

    assert!(selects(|rule| rule, query));
    assert!(selects(|r| Rule { to: Some(net("192.0.2.0/24")), ..r }, query));
    assert!(!selects(|r| Rule { to: Some(net("198.51.100.0/24")), ..r }, query));
    assert!(selects(|r| Rule { mark: masked(7, 0xff), ..r }, Query { mark: 0x107, ..query }));
    assert!(!selects(|r| Rule { mark: masked(7, 0xff), ..r }, Query { mark: 0x170, ..query }));
    assert!(selects(|r| Rule { protocol: UDP, ..r }, query));
    assert!(!selects(|r| Rule { protocol: 6, ..r }, query));
    assert!(selects(|r| Rule { sport: ports(5060, 5070), ..r }, Query { sport: 5070, ..query }));
    assert!(!selects(|r| Rule { sport: ports(5060, 5070), ..r }, Query { sport: 5071, ..query }));
    assert!(selects(|r| Rule { dport: ports(5060, 5060), ..r }, Query { dport: 5060, ..query }));
    assert!(!selects(|r| Rule { dport: ports(5060, 5060), ..r }, query));
    let aligned = Some(Ports { first: 5056, last: 5056, mask: 0xfff0 });
    assert!(selects(|r| Rule { dport: aligned, ..r }, Query { dport: 5060, ..query }));
    assert!(!selects(|r| Rule { dport: aligned, ..r }, Query { dport: 5072, ..query }));
}

#[test]
fn markings_that_our_packets_do_not_have_never_match() {
    let query = to("192.0.2.7");
    let masked = |value| Some(Masked { value, mask: 0x3f });
    assert!(selects(|r| Rule { dscp: masked(0), ..r }, query));
    assert!(!selects(|r| Rule { dscp: masked(46), ..r }, query));
    assert!(!selects(|r| Rule { flow_label: masked(5), ..r }, query));
    assert!(!selects(|r| Rule { tun_id: 5, ..r }, query));
    assert!(selects(|r| Rule { tun_id: 5, not: true, ..r }, query));
}

#[test]
fn source_selectors_do_not_see_an_open_source() {
    let rule = |r| Rule { from: Some(net("10.0.0.0/24")), ..r };
    assert!(selects(rule, from("10.0.0.4", to("192.0.2.7"))));
    assert!(!selects(rule, to("192.0.2.7")));
    // IPv4 compares with 0.0.0.0, so that `not from` selects it.
    assert!(selects(|r| Rule { not: true, ..rule(r) }, to("192.0.2.7")));
    assert!(!selects(|r| Rule { not: true, ..rule(r) }, from("10.0.0.4", to("192.0.2.7"))));
}

#[test]
fn our_packets_come_in_by_loopback() {
    let iif = |name: &'static str| move |r| Rule { iif: Some(name.into()), ..r };
    assert!(selects(iif("lo"), to("192.0.2.7")));
    assert!(!selects(iif("private"), to("192.0.2.7")));
    assert!(!selects(iif("absent"), to("192.0.2.7")));
}

#[test]
fn outgoing_device_selects_sockets_bound_to_it() {
    let oif = |name: &'static str| move |r| Rule { oif: Some(name.into()), ..r };
    let bound = Query { oif: 3, ..to("192.0.2.7") };
    assert!(selects(oif("private"), bound));
    assert!(!selects(oif("private"), to("192.0.2.7")));
    assert_eq!(refused(&under(oif("absent")), &bound), NoRoute::Unreachable);
}

#[test]
fn users_are_those_of_the_process() {
    let policy = under(|r| Rule { uids: Some(1000..=2000), ..r }).build();
    for (uid, table) in [(1_500, 7), (0, 254)] {
        let fib = policy.clone().for_user(uid);
        let Answer::Route(route) = fib.lookup(&to("192.0.2.7")) else { panic!("user {uid} has no route") };
        assert_eq!((fib.uid(), route.table), (uid, table));
    }
}

#[test]
fn goto_jumps_over_rules_and_is_passed_over_without_its_target() {
    let jump = |target| Rule::new(Family::V4, 50, Action::Goto(target));
    let prohibit = Rule::new(Family::V4, 60, Action::Prohibit);
    let nop = Rule::new(Family::V4, 70, Action::Nop);
    let policy = |target| two_sided().rule(jump(target)).rule(prohibit.clone()).rule(nop.clone());
    assert_eq!(found(&policy(70), &to("192.0.2.7")).table, 254);
    assert_eq!(refused(&policy(71), &to("192.0.2.7")), NoRoute::Prohibit);
}

#[test]
fn refusing_rules_refuse() {
    for (action, why) in [
        (Action::Blackhole, NoRoute::Blackhole),
        (Action::Unreachable, NoRoute::Unreachable),
        (Action::Prohibit, NoRoute::Prohibit),
    ] {
        assert_eq!(refused(&two_sided().rule(Rule::new(Family::V4, 50, action)), &to("192.0.2.7")), why);
    }
}

#[test]
fn suppressed_answers_are_passed_over() {
    let main_first = Rule::new(Family::V4, 50, Action::Table(254));
    let fallback = Rule::new(Family::V4, 60, Action::Table(7));
    let policy = |rule| {
        two_sided().rule(rule).rule(fallback.clone()).route(via("0.0.0.0/0", 3, "10.0.0.1").in_table(7))
    };
    // The split default route of VPNs: main without its default route, then the tunnel's table.
    let no_default = policy(Rule { suppress_prefix_len: Some(0), ..main_first.clone() });
    assert_eq!(found(&no_default, &to("192.0.2.7")).table, 7);
    assert_eq!(found(&no_default, &to("203.0.113.77")).table, 254);

    let no_group = policy(Rule { suppress_group: Some(5), ..main_first });
    let grouped = no_group.link(Link { group: 5, ..Link::up(4, "grouped") }).route(on("198.51.100.0/24", 4));
    assert_eq!(found(&grouped, &to("198.51.100.1")).table, 7);
    assert_eq!(found(&grouped, &to("203.0.113.77")).table, 254);
}

#[test]
fn a_vrf_has_its_own_table_loopback_and_sources() {
    let policy = Builder::host()
        .link(Link { vrf_table: Some(10), ..Link::up(2, "blue") })
        .link(Link { master: 2, ..Link::up(3, "port") })
        .link(Link::up(4, "other"))
        .assign(4, net("192.0.2.4/24"))
        .route(on("10.0.0.0/24", 3).in_table(10).with_source(ip("10.0.0.4")))
        .route(on("10.0.0.4/32", 3).in_table(10).of_kind(crate::fib::spec::Kind::Local))
        .route(on("10.9.0.0/16", 3).in_table(10))
        .address(crate::fib::spec::Address::new(3, ip("10.0.0.4"), 24))
        .rule(Rule { l3mdev: true, ..Rule::new(Family::V4, 1000, Action::Table(0)) });
    for oif in [2, 3] {
        let route = found(&policy, &Query { oif, ..to("10.0.0.9") });
        assert_eq!((route.dev, route.table, route.source), (3, 10, ip("10.0.0.4")), "by {oif}");
        // Not 192.0.2.4, which is of another domain.
        assert_eq!(found(&policy, &Query { oif, ..to("10.9.0.1") }).source, ip("10.0.0.4"), "by {oif}");
    }
    assert_eq!(found(&policy, &Query { oif: 2, ..to("10.0.0.4") }).dev, 2);
    assert_eq!(refused(&policy, &to("10.0.0.9")), NoRoute::Unreachable);
    assert_eq!(policy.build().l3_master(3), 2);
}

#[test]
fn an_opaque_rule_is_for_the_kernel_unless_it_cannot_be_meant() {
    let opaque =
        |to: &str| Rule { opaque: true, to: Some(net(to)), ..Rule::new(Family::V4, 100, Action::Table(7)) };
    assert_eq!(ask(&two_sided().rule(opaque("192.0.2.0/24")), &to("192.0.2.7")), Answer::AskKernel);
    assert_eq!(found(&two_sided().rule(opaque("198.51.100.0/24")), &to("192.0.2.7")).table, 254);
    let inverted = Rule { not: true, ..opaque("198.51.100.0/24") };
    assert_eq!(ask(&two_sided().rule(inverted), &to("192.0.2.7")), Answer::AskKernel);
    // Behind an answer it is not reached.
    let behind = Rule { priority: 40_000, ..opaque("192.0.2.0/24") };
    assert_eq!(found(&two_sided().rule(behind), &to("192.0.2.7")).table, 254);
}

#[test]
fn ipv6_rules_may_find_the_source_first() {
    let rule = |find_source| Rule {
        find_source,
        from: Some(net("2001:db8::/64")),
        ..Rule::new(Family::V6, 100, Action::Table(7))
    };
    let policy = |find_source| {
        two_sided().rule(rule(find_source)).route(on("2001:db8:9::/48", 3).in_table(7)).route(via(
            "2001:db8:9::/48",
            3,
            "2001:db8::1",
        ))
    };
    assert_eq!(found(&policy(true), &to("2001:db8:9::1")).table, 7);
    assert_eq!(found(&policy(false), &to("2001:db8:9::1")).table, 254);
}

#[test]
fn rules_of_one_family_are_not_for_the_other() {
    let policy = two_sided().rule(Rule::new(Family::V4, 50, Action::Prohibit));
    assert_eq!(refused(&policy, &to("10.0.0.9")), NoRoute::Prohibit);
    assert_eq!(found(&policy, &to("2001:db8::9")).dev, 3);
}

/// Where no rule selects, the bound question has the open one's answer; where one does, it is another question.
#[test]
fn the_answer_for_any_source_settles_the_bound_question_where_no_rule_selects() {
    let open = |host: &Builder, query: &Query| host.clone().build().lookup_open(query);
    for query in [to("192.0.2.7"), to("10.0.0.9"), to("2001:db8::9")] {
        let (answer, settles) = open(&two_sided(), &query);
        assert!(settles && answer == ask(&two_sided(), &query), "{query:?}");
        let Answer::Route(route) = answer else { panic!("{answer:?}") };
        let bound = Query { src: Some(route.source), sport: 5060, ..query };
        assert_eq!(ask(&two_sided(), &bound), answer);
    }
    let by_source = under(|rule| Rule { from: Some(net("203.0.113.10/32")), ..rule });
    let by_port = under(|rule| Rule { sport: ports(5060, 5060), ..rule });
    for host in [by_source, by_port] {
        let (answer, settles) = open(&host, &to("192.0.2.7"));
        assert!(!settles && answer == ask(&host, &to("192.0.2.7")));
    }
    for unusual in [to("127.0.0.1"), to("224.0.0.1"), Query { oif: 3, ..to("192.0.2.7") }] {
        let (answer, settles) = open(&two_sided(), &unusual);
        assert!(!settles && answer == ask(&two_sided(), &unusual), "{unusual:?}");
    }
}

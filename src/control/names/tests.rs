//! Against a real name server on loopback.

#[path = "../../../tests/support/nameserver.rs"]
#[allow(dead_code)]
mod nameserver;

use std::net::IpAddr;

use nameserver::{Mood, NameServer};

use super::*;
use crate::control::samples;
use crate::dns::{HostName, Kind, Query, Record, Resolution};
use crate::net::Transport;

const ZONE: &str = r#"
    example.com 120 NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.example.com
    example.com 120 NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.example.com
    _sip._udp.example.com 60 SRV 10 60 5060 gw1.example.com
    _sip._udp.example.com 60 SRV 10 40 5062 gw2.example.com
    _sip._udp.example.com 60 SRV 20 0 5060 backup.example.com
    gw1.example.com 30 A 192.0.2.1
    gw1.example.com 30 AAAA 2001:db8::1
    gw2.example.com 30 A 192.0.2.2
    backup.example.com 3000 A 192.0.2.9
    alias.example.com 20 CNAME gw1.example.com
"#;

/// A configuration that asks this server.
fn dns(server: &NameServer) -> Dns {
    Dns {
        servers: vec![server.address],
        timeout: Some(Duration::from_millis(300)),
        attempts: Some(1),
        ..Dns::default()
    }
}

/// With a listener on all addresses.
fn plan(server: &NameServer) -> Plan {
    let mut plan = Plan { dns: dns(server), ..samples::plan(Vec::new()) };
    plan.sections = std::sync::Arc::new([crate::plan::Section {
        id: crate::net::SectionId(0),
        name: "all".into(),
        transport: Transport::Udp,
        bind: crate::plan::Bind::All { v4: true, v6: true },
        port: 5060,
        tcp: crate::plan::Sibling::Absent,
        device: None,
        mark: None,
        advertise: Vec::new(),
        dialog_to: Vec::new(),
        formerly: Vec::new(),
        origins: None,
        tls: None,
    }]);
    plan
}

fn question(name: &str, port: Option<u16>) -> Question {
    Question { name: HostName::new(name.as_bytes()).unwrap(), port, transport: None, sips: false }
}

async fn asked(server: &NameServer, question: Question) -> Resolved {
    let client = Arc::new(Client::new(&dns(server)));
    resolve(client, question, plan(server).served(), Duration::from_secs(10)).await
}

fn addresses(resolution: &Resolution) -> Vec<IpAddr> {
    resolution.as_ref().unwrap_or_else(|why| panic!("{why:?}")).addresses().collect()
}

#[tokio::test]
async fn naptr_leads_to_srv_and_srv_to_addresses() {
    let server = NameServer::at("127.0.0.1:0", ZONE);
    let resolved = asked(&server, question("example.com", None)).await;
    let found = resolved.outcome.resolution.unwrap();
    let seen: Vec<String> = found
        .targets
        .iter()
        .map(|t| format!("{} {} {}:{} {:?}", t.rank, t.weight, t.transport, t.port, t.addresses))
        .collect();
    assert_eq!(
        seen,
        ["0 60 udp:5060 [2001:db8::1, 192.0.2.1]", "0 40 udp:5062 [192.0.2.2]", "1 0 udp:5060 [192.0.2.9]"]
    );
    assert_eq!(resolved.outcome.ttl_s, 30);
    let asked: Vec<String> = resolved.asked.iter().map(|asked| asked.query.to_string()).collect();
    assert_eq!(asked[..2], ["example.com NAPTR", "_sip._udp.example.com SRV"]);
    assert_eq!(asked.len(), 8);
    assert_eq!(server.asked().len(), 8);
}

#[tokio::test]
async fn an_alias_is_followed_and_its_ttl_counts() {
    let server = NameServer::at("127.0.0.1:0", ZONE);
    let resolved = asked(&server, question("alias.example.com", Some(5060))).await;
    assert_eq!(addresses(&resolved.outcome.resolution).len(), 2);
    assert_eq!(resolved.outcome.ttl_s, 20);
}

/// RFC 7766 §5: what is cut short over UDP is asked for over TCP.
#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp() {
    let many: String =
        (0..30).map(|n| format!("_sip._udp.big.example SRV {n} 0 5060 gw{n}.big.example\n")).collect();
    let server = NameServer::at("127.0.0.1:0", &many);
    server.mood("_sip._udp.big.example", Some(Mood::Truncates));
    let client = Client::new(&dns(&server));
    let answer = client.ask(&Query { name: "_sip._udp.big.example".into(), kind: Kind::Srv }).await;
    let Answer::Records { records, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(records.len(), 30);
    assert!(records.contains(&Record::Srv {
        priority: 7,
        weight: 0,
        port: 5060,
        target: "gw7.big.example".into()
    }));
    assert_eq!(server.asked(), ["_sip._udp.big.example SRV", "_sip._udp.big.example SRV tcp"]);
}

#[tokio::test]
async fn absent_failing_and_silent_are_told_apart() {
    let server = NameServer::at("127.0.0.1:0", ZONE);
    server.mood("fails.example.com", Some(Mood::Fails));
    server.mood("silent.example.com", Some(Mood::Silent));
    let client = Client::new(&dns(&server));
    let ask = async |name: &str, kind| client.ask(&Query { name: name.into(), kind }).await;
    assert_eq!(
        ask("absent.example.com", Kind::A).await,
        Answer::Nothing { exists: false, ttl_s: Some(60) },
        "the minimum of the SOA record"
    );
    assert_eq!(ask("gw2.example.com", Kind::Aaaa).await, Answer::Nothing { exists: true, ttl_s: Some(60) });
    assert!(matches!(ask("fails.example.com", Kind::A).await, Answer::Failed(_)));
    let begin = Instant::now();
    assert!(matches!(ask("silent.example.com", Kind::A).await, Answer::Failed(_)));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    server.asked();
}

#[tokio::test]
async fn the_systems_hosts_come_before_name_servers() {
    let server = NameServer::at("127.0.0.1:0", "localhost A 192.0.2.1");
    let resolved = asked(&server, question("localhost", None)).await;
    let addresses = addresses(&resolved.outcome.resolution);
    assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    assert_eq!(server.asked(), [""; 0], "nobody else is asked");
}

/// Names, with nothing in the configuration.
fn names(server: &NameServer, change: impl FnOnce(&mut Dns)) -> Names {
    let mut plan = plan(server);
    change(&mut plan.dns);
    Names::new(&plan)
}

/// Does what there is to do until a question has an answer, or so long.
async fn until_known(names: &mut Names, question: &Question, patience: Duration) -> Option<Resolution> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        names.publish();
        names.count();
        if let Some(resolution) = names.directory().get(question) {
            return Some(resolution.clone());
        }
        match tokio::time::timeout_at(deadline, names.next()).await {
            Ok(event) => names.handle(event),
            Err(_) => return None,
        };
    }
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_question_of_a_shard_gets_its_answer() {
    let server = NameServer::at("127.0.0.1:0", ZONE);
    let mut names = names(&server, |_| {});
    let (known, absent) = (question("example.com", None), question("absent.example", None));
    assert!(names.questions().ask(known) && names.questions().ask(known) && names.questions().ask(absent));
    let resolution = until_known(&mut names, &known, LONG).await.expect("an answer");
    assert_eq!(addresses(&resolution).len(), 4);
    assert_eq!(until_known(&mut names, &absent, LONG).await, Some(Err(Unresolved::NoSuchName)));
    let readings = names.readings();
    assert_eq!((readings.kept.names, readings.kept.unresolved, readings.under_way), (2, 1, 0));
    assert_eq!(readings.queries[Kind::Naptr as usize], [1, 1, 0]);
    assert_eq!(readings.queries[Kind::Srv as usize], [1, 0, 0]);
    assert_eq!(server.asked().len(), 9, "asked for once, whoever waits");
}

#[tokio::test]
async fn answers_change_and_outlive_their_server() {
    let server = NameServer::at("127.0.0.1:0", "gw.example 1 A 192.0.2.1");
    let mut names = names(&server, |dns| dns.keep.min_ttl = Duration::from_secs(1));
    let question = question("gw.example", Some(5060));
    names.keeper.configure(names.dns.keep, [question]);
    names.configured.insert("gw.example".into());
    names.look();
    let first = until_known(&mut names, &question, LONG).await.expect("an answer");
    assert_eq!(addresses(&first), ["192.0.2.1".parse::<IpAddr>().unwrap()]);

    server.says("gw.example 1 A 192.0.2.2");
    let second = until(&mut names, &question, |r| addresses(r) != addresses(&first)).await;
    assert_eq!(addresses(&second), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
    assert!(names.changes >= 2);

    server.mood("gw.example", Some(Mood::Fails));
    let stale = until(&mut names, &question, |r| r.as_ref().is_ok_and(|found| found.stale)).await;
    assert_eq!(addresses(&stale), addresses(&second));
    assert_eq!((names.readings().kept.stale, names.unresolved()), (1, 0));
    assert!(names.failing.contains("gw.example"), "told once");
}

/// Cares once in a while until the answer is as wanted.
async fn until(names: &mut Names, question: &Question, wanted: impl Fn(&Resolution) -> bool) -> Resolution {
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        names.care();
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(50), names.next()).await {
            names.handle(event);
        }
        names.publish();
        names.count();
        if let Some(resolution) = names.directory().get(question).filter(|r| wanted(r)) {
            return resolution.clone();
        }
    }
    panic!("{:?}", names.directory().get(question));
}

#[tokio::test]
async fn made_up_names_are_looked_up_at_a_bounded_rate() {
    let server = NameServer::at("127.0.0.1:0", ZONE);
    let mut names = names(&server, |dns| dns.per_second = 5);
    let questions = names.questions();
    let all = (0..limits::DNS_QUESTIONS + 10)
        .filter(|n| questions.ask(question(&format!("x{n}.example"), Some(5060))));
    assert_eq!(all.count(), limits::DNS_QUESTIONS, "the queue has an end");
    let begin = Instant::now();
    let last = question("x14.example", Some(5060));
    assert_eq!(until_known(&mut names, &last, LONG).await, Some(Err(Unresolved::NoSuchName)));
    // Five at once, and ten more at five a second.
    assert!(begin.elapsed() >= Duration::from_millis(1_900), "{:?}", begin.elapsed());
}

#[test]
fn commands_ask_once_and_do_not_wait_for_ever() {
    let server = NameServer::at("127.0.0.1:0", ZONE);
    server.mood("silent.example", Some(Mood::Silent));
    let mut plan = plan(&server);
    (plan.dns.timeout, plan.dns.attempts) = (Some(Duration::from_secs(30)), Some(3));
    let begin = Instant::now();
    let questions = [question("silent.example", Some(5060)), question("gw2.example.com", Some(5060))];
    let resolved = resolve_now(&plan, &questions, Duration::from_millis(500)).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(resolved[0].outcome.resolution, Err(Unresolved::Failed));
    assert_eq!(addresses(&resolved[1].outcome.resolution), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
}

/// However many names: those that have no answer take no time of others.
#[test]
fn commands_wait_once_for_all_names() {
    let many: Vec<String> = (0..3 * limits::DNS_AGAIN).map(|n| format!("x{n}.example")).collect();
    let server = NameServer::at("127.0.0.1:0", "last.example 60 A 192.0.2.1");
    many.iter().for_each(|name| server.mood(name, Some(Mood::Silent)));
    let mut plan = plan(&server);
    (plan.dns.timeout, plan.dns.attempts) = (Some(Duration::from_secs(30)), Some(0));
    let ask = |many: &[String]| {
        let all = many.iter().map(String::as_str).chain(["last.example"]);
        let questions: Vec<Question> = all.map(|name| question(name, Some(5060))).collect();
        let begin = Instant::now();
        let resolved = resolve_now(&plan, &questions, Duration::from_secs(2)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        assert!(resolved.iter().map(|resolved| resolved.question).eq(questions), "in order");
        resolved.last().unwrap().outcome.resolution.clone()
    };
    assert_eq!(ask(&many), Err(Unresolved::Failed));
    assert_eq!(addresses(&ask(&many[1..limits::DNS_AGAIN])).len(), 1);
}

#[test]
fn an_allowance_comes_back_with_time() {
    let s = Duration::from_secs_f64;
    let mut allowance = Allowance::new(10);
    for _ in 0..10 {
        assert_eq!(allowance.wait(s(0.0)), Duration::ZERO);
        allowance.take(s(0.0));
    }
    assert!((allowance.wait(s(0.0)).as_secs_f64() - 0.1).abs() < 1e-6);
    assert_eq!(allowance.wait(s(0.2)), Duration::ZERO);
    allowance.take(s(100.0));
    assert!(allowance.left_at(s(100.0)) <= 9.0, "it does not pile up");
}

#[tokio::test]
async fn other_name_servers_are_asked_for_what_is_in_use() {
    let first = NameServer::at("127.0.0.1:0", "gw.example 3000 A 192.0.2.1");
    let second = NameServer::at("127.0.0.1:0", "gw.example 3000 A 192.0.2.2");
    let mut names = names(&first, |_| {});
    let question = question("gw.example", Some(5060));
    assert!(names.questions().ask(question));
    let known = until_known(&mut names, &question, LONG).await.expect("an answer");
    assert_eq!(addresses(&known), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    names.configure(&plan(&second));
    let known = until(&mut names, &question, |resolution| *resolution != known).await;
    assert_eq!(addresses(&known), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
}

/// Names of requests whose servers say nothing take no place of those of the configuration.
#[tokio::test]
async fn names_of_the_configuration_wait_for_no_others() {
    let many: Vec<String> = (0..2 * limits::DNS_AGAIN).map(|n| format!("x{n}.example")).collect();
    let zone: String = many.iter().map(|name| format!("{name} 2 A 192.0.2.1\n")).collect();
    let server = NameServer::at("127.0.0.1:0", &zone);
    let mut names = names(&server, |dns| {
        (dns.keep.min_ttl, dns.timeout) = (Duration::from_secs(2), Some(Duration::from_secs(30)));
    });
    let questions: Vec<Question> = many.iter().map(|name| question(name, Some(5060))).collect();
    for question in &questions {
        assert!(names.questions().ask(*question));
    }
    for question in &questions {
        let _ = until_known(&mut names, question, LONG).await.expect("an answer");
    }
    many.iter().for_each(|name| server.mood(name, Some(Mood::Silent)));
    let begin = Instant::now();
    while names.readings().under_way < limits::DNS_AGAIN as u64 && begin.elapsed() < LONG {
        questions.iter().for_each(|question| _ = names.directory().get(question));
        tokio::time::sleep(Duration::from_millis(50)).await;
        names.care();
    }
    assert_eq!(names.readings().under_way, limits::DNS_AGAIN as u64);
    server.says("gw.example 1 A 192.0.2.9");
    let gateway = question("gw.example", Some(5060));
    names.keeper.configure(names.dns.keep, [gateway]);
    let known = until(&mut names, &gateway, |_| true).await;
    assert_eq!(addresses(&known), ["192.0.2.9".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn a_lookup_that_panics_has_failed() {
    let server = NameServer::at("127.0.0.1:0", ZONE);
    let mut names = names(&server, |_| {});
    let question = question("gw1.example.com", Some(5060));
    names.keeper.want(question, Duration::ZERO).unwrap();
    names.under_way[Wanted::ByMessage as usize] += 1;
    let lookup = guarded(question, async { panic!("of the test") });
    names.lookups.spawn(async move { (lookup.await, Wanted::ByMessage, 0) });
    assert_eq!(until_known(&mut names, &question, LONG).await, Some(Err(Unresolved::Failed)));
    assert_eq!(names.readings().under_way, 0);
}

#[tokio::test]
async fn what_former_name_servers_say_is_asked_for_again() {
    let first = NameServer::at("127.0.0.1:0", "gw.example 3000 A 192.0.2.1");
    let second = NameServer::at("127.0.0.1:0", "gw.example 3000 A 192.0.2.2");
    let mut names = names(&first, |_| {});
    let question = question("gw.example", Some(5060));
    assert!(names.questions().ask(question));
    while names.lookups.is_empty() {
        let event = names.next().await;
        names.handle(event);
    }
    names.configure(&plan(&second));
    let known = until_known(&mut names, &question, LONG).await.expect("an answer");
    assert_eq!(addresses(&known), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    let known = until(&mut names, &question, |resolution| *resolution != known).await;
    assert_eq!(addresses(&known), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
}

/// Between two seconds nothing looks through all names, whatever comes.
#[tokio::test]
async fn names_are_counted_once_a_second() {
    let server = NameServer::at("127.0.0.1:0", ZONE);
    let mut names = names(&server, |_| {});
    assert!(names.questions().ask(question("absent.example", None)));
    while names.readings.queries[Kind::Naptr as usize] == [0; 3] {
        let event = names.next().await;
        names.handle(event);
    }
    assert_eq!(names.readings().kept.names, 0);
    names.care();
    assert_eq!((names.readings().kept.names, names.readings().kept.unresolved), (1, 1));
}

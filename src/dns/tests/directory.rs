use super::*;

fn found(last: u8) -> Resolution {
    let addresses = [[192, 0, 2, last].into()].into();
    let target = Target { rank: 0, weight: 0, transport: Transport::Udp, port: 5060, addresses };
    Ok(Found { targets: [target].into(), stale: false })
}

#[test]
fn what_a_question_asks_besides_the_name_tells_questions_apart() {
    let texts = ["a.example", "a.example:5060", "a.example;udp", "sips:a.example", "b.example"];
    let all = (0..).zip(texts).map(|(n, text)| (question(text), found(n)));
    let directory = Directory::of(all);
    for (n, text) in (0..).zip(texts) {
        assert_eq!(directory.get(&question(text)), Some(&found(n)), "{text}");
    }
    assert_eq!(directory.get(&question("c.example")), None);
}

#[test]
fn a_clone_does_not_see_what_changes_later() {
    let questions: Vec<_> = (0..5_000).map(|n| question(&format!("gw{n}.example"))).collect();
    let mut keeper = Keeper::new(super::keeper::settings());
    let now = std::time::Duration::from_secs(1);
    let answer = |n| Outcome { resolution: found(n), ttl_s: 60, partial: false };
    for question in &questions {
        keeper.want(*question, now).unwrap();
        keeper.take(*question, answer(1), now);
    }
    let before = keeper.publish().unwrap();
    keeper.take(questions[7], answer(2), now);
    let after = keeper.publish().unwrap();
    assert_eq!(before.get(&questions[7]), Some(&found(1)));
    assert_eq!(after.get(&questions[7]), Some(&found(2)));
    assert!(questions.iter().all(|question| after.get(question).is_some()));
    assert!(keeper.publish().is_none(), "nothing has changed");
}

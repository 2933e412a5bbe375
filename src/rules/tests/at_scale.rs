//! Thousands of rules over everything that can be asked, against requests drawn near them: the compiled
//! rules find what the plain reading finds.
//!
//! `VIADUCT_RULES=200` tries so many tables; `VIADUCT_RULES_SEED=7` begins with that one.

use super::*;
use crate::random;
use crate::rules::tree::MOST_PLACES;

/// Tables of the normal run.
const TABLES: u64 = 3;
const RULES: usize = 2_500;
const REQUESTS: usize = 250;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        (random::next(&mut self.0) % sides as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.roll(list.len())].clone()
    }

    /// A number with few different digits, so that many begin alike, and some are the beginning of others.
    fn number(&mut self, longest: usize) -> String {
        (0..4 + self.roll(longest)).map(|_| self.of(&['1', '1', '2', '3'])).collect()
    }

    fn word(&mut self) -> String {
        format!("{}{}", self.of(&["anna", "bob", "agent-", "+1", "*"]), self.roll(120))
    }

    fn host(&mut self) -> String {
        match self.roll(3) {
            0 => format!("gateway-{}.example", self.roll(300)),
            1 => format!("10.7.{}.{}", self.roll(3), self.roll(60)),
            _ => format!("2001:db8::{:x}", self.roll(60)),
        }
    }

    fn address(&mut self) -> IpAddr {
        let text = if self.one_in(4) {
            format!("2001:db8:{:x}:{:x}::{:x}", self.roll(60), self.roll(8), self.roll(8))
        } else {
            format!("10.{}.{}.{}", self.roll(40), self.roll(200), self.roll(250))
        };
        text.parse().unwrap()
    }

    fn network(&mut self) -> IpNet {
        let address = self.address();
        let length = if address.is_ipv4() { 18 + self.roll(15) } else { 44 + self.roll(85) };
        IpNet::new(address, length as u8).unwrap().trunc()
    }

    /// A pattern, and a text that it matches.
    fn pattern(&mut self) -> (Pattern, String) {
        let (word, number) = (self.word(), self.number(5));
        let quoted = word.replace('+', r"\+").replace('*', r"\*");
        let (pattern, text) = match self.roll(11) {
            0 => (format!("^{quoted}$"), word),
            1 => (format!("^{quoted}[0-9]+$"), format!("{word}{number}")),
            2 => (format!("^(00|\\+)?{number}"), format!("00{number}9")),
            3 => (format!("{number}9$"), format!("+5{number}9")),
            4 => (format!("(?i)^{quoted}"), format!("{}x", word.to_uppercase())),
            5 => (format!("^.*{number}7$"), format!("2{number}7")),
            6 => (format!("^{number}[1-3]{{2,4}}8?$"), format!("{number}222")),
            7 => (format!("{number}{number}4"), format!("0{number}{number}45")),
            8 => (format!("{number}6|^{quoted}4"), format!("{word}4")),
            9 => (format!("^[^2]{number}5"), format!("1{number}5")),
            _ => (format!("^({number}|{number}1){{2}}$"), format!("{number}{number}1")),
        };
        (Pattern(pattern.into()), text)
    }

    fn some(&mut self, mut one: impl FnMut(&mut Self) -> String) -> Vec<Box<str>> {
        (0..1 + self.roll(2) * self.roll(3)).map(|_| one(self).into()).collect()
    }
}

/// A condition, and a request that satisfies it; but where a `not` or the header of another rule is in the
/// way.
fn condition(dice: &mut Dice, depth: usize) -> (When, Sample) {
    let (mut when, mut sample) = (When::default(), request(dice));
    for n in 0..2 + dice.roll(3) {
        // What tells rules apart first: tables of this size are made of that.
        let kind = if n > 0 && dice.one_in(3) { dice.roll(3) } else { 3 + dice.roll(9) };
        ask(dice, kind, &mut when, &mut sample);
    }
    if depth > 0 && dice.one_in(3) {
        // Often about the very thing that the rule asks for, so that it decides.
        let (mut not, _) = condition(dice, depth - 1);
        if dice.one_in(2) {
            not.ruri_prefix = when.ruri_prefix.clone();
        }
        when.not = Some(Box::new(not));
    }
    (when, sample)
}

fn ask(dice: &mut Dice, kind: usize, when: &mut When, sample: &mut Sample) {
    match kind {
        0 => {
            when.method = boxes(&[sample.method, "PUBLISH"]);
        }
        1 => when.transport = vec![sample.transport],
        2 => when.listener = vec![SectionId(sample.listener), SectionId(dice.roll(6) as u16)],
        3 | 4 => {
            when.source = (0..1 + dice.roll(3)).map(|_| dice.network()).collect();
            sample.source = when.source[0].hosts().next().unwrap();
        }
        5 => {
            when.ruri_prefix = dice.some(|dice| dice.number(9));
            let (begin, end) = when.ruri_prefix[0].split_at(1);
            sample.ruri_user = format!("{begin}{}{end}{}", dice.of(&["", "-", "("]), dice.number(4));
        }
        6 => {
            when.ruri_host = dice.some(Dice::host);
            sample.ruri_host = as_received(dice, &when.ruri_host[0]);
        }
        7 => {
            when.from_host = dice.some(Dice::host);
            sample.from_host = as_received(dice, &when.from_host[0]);
        }
        8 => {
            when.to_host = dice.some(Dice::host);
            sample.to_host = as_received(dice, &when.to_host[0]);
        }
        9 => {
            let (pattern, text) = dice.pattern();
            (when.ruri_user, sample.ruri_user) = (Some(pattern), text);
        }
        10 => {
            let (pattern, text) = dice.pattern();
            match dice.roll(2) {
                0 => (when.from_user, sample.from_user) = (Some(pattern), text),
                _ => (when.to_user, sample.to_user) = (Some(pattern), text),
            }
        }
        _ => {
            let (pattern, text) = dice.pattern();
            let name = dice.of(&["X-A", "x-b", "Subject"]);
            when.header.push((name.into(), pattern));
            sample.header.push((name, text));
        }
    }
}

fn as_received(dice: &mut Dice, host: &str) -> String {
    match dice.roll(3) {
        0 if host.contains(':') => format!("[{}]", host.to_uppercase()),
        1 if !host.contains(':') => format!("{}.", host.to_uppercase()),
        _ => host.to_owned(),
    }
}

/// Any request.
fn request(dice: &mut Dice) -> Sample {
    Sample {
        method: dice.of(&["INVITE", "BYE", "OPTIONS", "MESSAGE"]),
        transport: dice.of(&[Transport::Udp, Transport::Tcp]),
        listener: dice.roll(6) as u16,
        source: dice.address(),
        ruri_user: if dice.one_in(2) { dice.number(12) } else { dice.word() },
        ruri_host: dice.host(),
        from_user: dice.word(),
        from_host: dice.host(),
        to_user: dice.word(),
        to_host: dice.host(),
        header: Vec::new(),
    }
}

/// A request near a rule: it differs in one thing, or not at all.
fn near(dice: &mut Dice, sample: &Sample) -> Sample {
    let (mut near, other) = (sample.clone(), request(dice));
    match dice.roll(16) {
        0 => near.method = other.method,
        1 => near.listener = other.listener,
        2 => near.source = other.source,
        3 => near.ruri_user = other.ruri_user,
        4 => near.ruri_host = other.ruri_host,
        5 => near.to_user.push('1'),
        6 => near.from_user.push('1'),
        7 => near.ruri_user.push('1'),
        8 => near.header.clear(),
        9 => near.header.extend([("x-a", dice.pattern().1), ("X-B", dice.pattern().1)]),
        _ => {}
    }
    near
}

/// Rules of all kinds, among them blocks that differ in the combination of few values only; and for each
/// a request.
fn table(dice: &mut Dice) -> (Vec<Rule>, Vec<Sample>) {
    let sources: Vec<IpNet> = (0..12).map(|_| dice.network()).collect();
    let numbers: Vec<String> = (0..12).map(|_| dice.number(8)).collect();
    let (mut whens, mut samples) = (Vec::new(), Vec::new());
    for n in 0..RULES {
        let (mut when, mut sample) = condition(dice, 2);
        if n % 5 == 0 {
            let (source, number) = (dice.of(&sources), dice.of(&numbers));
            when =
                When { source: vec![source], ruri_prefix: vec![number.as_str().into()], ..When::default() };
            (sample.source, sample.ruri_user) = (source.hosts().next().unwrap(), number);
            ask(dice, 6 + n % 3, &mut when, &mut sample);
        }
        whens.push(when);
        samples.push(sample);
    }
    (rules(whens), samples)
}

#[test]
fn thousands_of_rules_agree_with_the_plain_reading() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (tables, first) =
        (number("VIADUCT_RULES").unwrap_or(TABLES), number("VIADUCT_RULES_SEED").unwrap_or(1));
    for seed in first..first + tables {
        println!("table {seed}");
        let mut dice = Dice(seed);
        let (rules, samples) = table(&mut dice);
        let shadowed: Vec<RuleId> = shadowed(&rules).into_iter().map(|(rule, _)| rule).collect();
        let matcher = Matcher::compile(&rules).unwrap();
        let mut scratch = matcher.scratch();
        let mut found = Vec::new();
        for _ in 0..REQUESTS {
            let sample = dice.of(&samples);
            let sample = near(&mut dice, &sample);
            let plain = rules.iter().position(|rule| naive(&rule.when, &sample));
            let matched = super::ask(&matcher, &mut scratch, &sample);
            assert_eq!(matched, plain, "table {seed}, {sample:?}, {:?}", plain.map(|at| &rules[at]));
            found.extend(matched);
        }
        assert!(!found.iter().any(|&rule| shadowed.contains(&RuleId(rule as u32))), "table {seed}");
        // The requests do meet the rules, first and last ones.
        let matched = found.len();
        found.sort();
        found.dedup();
        let late = found.iter().filter(|&&rule| rule > RULES / 2).count();
        println!("{matched} of {REQUESTS} match, {} rules, {late} of the second half", found.len());
        assert!(matched > REQUESTS / 2 && found.len() > 60 && late > 10, "{matched} {} {late}", found.len());
    }
}

#[test]
fn rules_with_several_long_lists_hang_in_few_places() {
    const LISTED: usize = 64;
    let mut dice = Dice(1);
    let sources: Vec<IpNet> =
        (0..1_000).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250).parse().unwrap()).collect();
    let some = |dice: &mut Dice| -> Vec<usize> { (0..LISTED).map(|_| dice.roll(1_000)).collect() };
    let whens = (0..1_000).map(|_| When {
        source: some(&mut dice).into_iter().map(|n| sources[n]).collect(),
        to_host: some(&mut dice).into_iter().map(|n| format!("gateway-{n}.example").into()).collect(),
        ..When::default()
    });
    let rules = rules(whens.collect());
    let matcher = Matcher::compile(&rules).unwrap();
    assert!(matcher.places() <= MOST_PLACES * rules.len(), "{}", matcher.places());
    let (mut scratch, mut matched) = (matcher.scratch(), 0);
    for _ in 0..400 {
        let when = &dice.of(&rules).when;
        let sample = Sample {
            source: dice.of(&when.source).hosts().next().unwrap(),
            to_host: dice.of(&when.to_host).into(),
            ..Sample::default()
        };
        let sample = if dice.one_in(3) { near(&mut dice, &sample) } else { sample };
        let plain = rules.iter().position(|rule| naive(&rule.when, &sample));
        assert_eq!(super::ask(&matcher, &mut scratch, &sample), plain, "{sample:?}");
        matched += usize::from(plain.is_some());
    }
    assert!(matched > 200, "{matched}");
}

fn narrow(when: &mut When) {
    for network in &mut when.source {
        *network =
            IpNet::new(network.addr(), (network.prefix_len() + 3).min(network.max_prefix_len())).unwrap();
    }
    for prefix in &mut when.ruri_prefix {
        *prefix = format!("{prefix}7").into();
    }
}

#[test]
fn shadows_are_found_as_by_comparing_each_with_each() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut whens: Vec<When> = (0..120).map(|_| condition(&mut dice, 1).0).collect();
        for n in 0..60 {
            // The same once more, with something more, or narrower.
            let mut when = whens[n].clone();
            match n % 3 {
                0 => ask(&mut dice, n % 12, &mut when, &mut Sample::default()),
                1 => narrow(&mut when),
                _ => {}
            }
            whens.push(when);
        }
        let rules = rules(whens);
        let plain: Vec<(RuleId, RuleId)> = (rules.iter().enumerate())
            .filter_map(|(at, rule)| {
                let by = rules[..at].iter().find(|earlier| logic::implies(&rule.when, &earlier.when))?;
                Some((rule.id, by.id))
            })
            .collect();
        assert!(plain.len() > 30, "{}", plain.len());
        assert_eq!(shadowed(&rules), plain, "seed {seed}");
    }
}

#[test]
fn a_rule_that_contradicts_itself_never_matches() {
    let (mut dice, mut contradictory) = (Dice(1), 0);
    for _ in 0..3_000 {
        let (mut when, sample) = condition(&mut dice, 1);
        ask(&mut dice, 9, &mut when, &mut sample.clone());
        ask(&mut dice, 5, &mut when, &mut sample.clone());
        // What only listeners make impossible does not count here: requests do not know them.
        let found = contradiction(&When { listener: Vec::new(), ..when.clone() }, |_| unreachable!());
        if found.is_some() {
            contradictory += 1;
            let samples: Vec<Sample> = (0..20).map(|_| near(&mut dice, &sample)).collect();
            assert!(!samples.iter().any(|sample| naive(&when, sample)), "{when:?}");
        }
    }
    assert!(contradictory > 300, "{contradictory}");
}

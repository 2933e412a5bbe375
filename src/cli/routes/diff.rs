//! `viaduct routes diff`: every change of links, addresses, rules and routes as it is published.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use ipnet::{IpNet, Ipv6Net};
use serde_json::{Value, json};

use super::super::as_user::AsUser;
use super::super::explain::moved::{Hop, NowAndThen};
use super::super::{CONFIGURATION, FAILED, output};
use super::destination;
use crate::config;
use crate::control::netlink::Follower;
use crate::fib::{Answer, Difference, Entry, Fib, Query, RouteEntry, table_in_words};
use crate::net::canonical;
use crate::plan::expand;
use crate::snapshot::Snapshot;
use crate::token::Keys;

const DIM: Style = Style::new().dimmed();
const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const MOVES: Style = AnsiColor::Yellow.on_default().bold();

/// Changes of one publication that people are shown; a link that goes down may take a million routes along.
const SHOWN: usize = 200;

/// Watches links, addresses, rules and routes change, as a running Viaduct would follow them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line for each thing that is there (+) or gone (-) since the last snapshot, and for each answer
that has changed: of the destinations of --dst, as an unbound socket would be answered, and of the
literal next hops of a configuration's rules, with the listener that they leave from. What comes
within some milliseconds is one snapshot, so what comes and goes at once is not seen. Ends on
Ctrl-C.

Examples:
  viaduct routes diff
  viaduct routes diff --dst 10.0.0.100 --dst 2001:db8::1
  viaduct routes diff -c viaduct.toml --user viaduct --for 60
  viaduct routes diff --json | jq 'select(.table == \"main\")'")]
pub struct Diff {
    /// Tell how this destination's answer changes; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = destination)]
    dst: Vec<IpAddr>,
    /// Tell how the literal next hops of this configuration's rules move
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    user: AsUser,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// An object a line
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to watch, with the exit code.
struct Failure(u8, String);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(FAILED, error.to_string())
    }
}

/// Watches until it is told to end.
pub fn execute(args: &Diff) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let watched = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(watch(args)));
    match watched {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, why)) => {
            output::tell(format_args!("viaduct routes diff: {why}"));
            ExitCode::from(code)
        }
    }
}

async fn watch(args: &Diff) -> Result<(), Failure> {
    let failed = |error: crate::control::netlink::Error| {
        Failure(FAILED, format!("{error}\n  hint: {}", error.remedy()))
    };
    let (mut follower, first) = Follower::start().map_err(failed)?;
    let for_user = |fib: Arc<Fib>| Arc::new(args.user.of(Arc::unwrap_or_clone(fib)));
    let first = for_user(first);
    if let Some(note) = args.user.note(&first).filter(|_| args.config.is_some() || !args.dst.is_empty()) {
        output::tell(format_args!("viaduct routes diff: {note}"));
    }
    let configured = args.config.as_deref().map(|path| Configured::new(path, &first)).transpose()?;
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    let mut teller = Teller { args, configured, known: first };
    if finished(teller.begin(&mut out))? {
        return Ok(());
    }
    let end = async {
        match args.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            pressed = tokio::signal::ctrl_c() => return Ok(pressed?),
            published = follower.next() => match published {
                Ok(fib) => if finished(teller.tell(for_user(fib), &mut out))? {
                    return Ok(());
                },
                // The old snapshot stays; it is tried again.
                Err(error) => output::tell(format_args!("viaduct routes diff: {error}")),
            },
        }
    }
}

/// Whether nobody reads on.
fn finished(written: io::Result<()>) -> Result<bool, Failure> {
    let Err(error) = written else { return Ok(false) };
    output::failure(&error).map_or(Ok(true), |why| Err(Failure(FAILED, why)))
}

/// A configuration on the host as it was.
struct Configured {
    known: Snapshot,
}

impl Configured {
    fn new(path: &Path, fib: &Arc<Fib>) -> Result<Self, Failure> {
        let loaded = config::load(path, fib).map_err(|findings| {
            Failure(CONFIGURATION, format!("the configuration has errors\n{findings}"))
        })?;
        // Nothing is signed here.
        let keys = Keys::ephemeral().map_err(|e| Failure(FAILED, format!("no random numbers: {e}")))?;
        let (plan, keys, names) = (Arc::new(loaded.plan), Arc::new(keys), Arc::default());
        let known = Snapshot::new(fib.generation(), plan, Arc::clone(fib), keys, names);
        Ok(Self { known })
    }

    /// The next hops that move.
    fn step(&mut self, fib: &Arc<Fib>) -> Vec<Hop> {
        let Snapshot { plan, keys, names, .. } = &self.known;
        let plan = Arc::new(plan.with_listeners(expand(&plan.sections, fib)));
        let (keys, names) = (Arc::clone(keys), Arc::clone(names));
        let new = Snapshot::new(fib.generation(), plan, Arc::clone(fib), keys, names);
        let mut hops = NowAndThen { now: &self.known, then: &new, on: None }.next_hops();
        hops.retain(|hop| hop.moves);
        self.known = new;
        hops
    }
}

struct Teller<'a> {
    args: &'a Diff,
    configured: Option<Configured>,
    known: Arc<Fib>,
}

impl Teller<'_> {
    fn begin(&self, out: &mut impl Write) -> io::Result<()> {
        let (routes, links) = (self.known.route_count(), self.known.links().count());
        if self.args.json {
            let (time, generation) = (since_1970(), self.known.generation());
            let started =
                json!({ "time": time, "generation": generation, "links": links, "prefixes": routes });
            writeln!(out, "{}", json!({ "following": started }))?;
        } else {
            writeln!(out, "{DIM}{} following {links} links, {routes} prefixes{DIM:#}", clock())?;
            for dst in &self.args.dst {
                writeln!(out, "  {dst} {}", answer(&self.known, *dst))?;
            }
        }
        out.flush()
    }

    /// Tells what has changed since the last snapshot.
    fn tell(&mut self, fib: Arc<Fib>, out: &mut impl Write) -> io::Result<()> {
        let changes = fib.changes_since(&self.known);
        let changes = match self.args.json {
            true => that_differ(changes, |entry| entry_json(entry).to_string()),
            false => that_differ(changes, in_words),
        };
        let moved = self.configured.as_mut().map(|configured| configured.step(&fib)).unwrap_or_default();
        let mut answers = Vec::new();
        for dst in &self.args.dst {
            let (before, now) = (answer(&self.known, *dst), answer(&fib, *dst));
            if before != now {
                answers.push((*dst, before, now));
            }
        }
        let before = std::mem::replace(&mut self.known, fib);
        let told =
            Told { before: &before, fib: &self.known, changes: &changes, answers: &answers, moved: &moved };
        if self.args.json {
            told.as_json(out)?
        } else {
            told.as_text(out)?
        }
        out.flush()
    }
}

/// What one publication has brought.
struct Told<'a> {
    before: &'a Fib,
    fib: &'a Fib,
    changes: &'a [Difference],
    /// Destination, answer before, answer now.
    answers: &'a [(IpAddr, String, String)],
    moved: &'a [Hop],
}

impl Told<'_> {
    fn as_text(&self, out: &mut impl Write) -> io::Result<()> {
        let head = format!("{DIM}{} #{}{DIM:#}", clock(), self.fib.generation());
        for change in self.changes.iter().take(SHOWN) {
            match change {
                Difference::Added(entry) => {
                    let why = if is_kept(entry, self.before) { " (interface up)" } else { "" };
                    writeln!(out, "{head} {ADDED}+ {}{why}{ADDED:#}", in_words(entry))?;
                }
                Difference::Removed(entry) => {
                    let why = if is_kept(entry, self.fib) { " (interface down)" } else { "" };
                    writeln!(out, "{head} {REMOVED}- {}{why}{REMOVED:#}", in_words(entry))?;
                }
            }
        }
        if let Some(more @ 1..) = self.changes.len().checked_sub(SHOWN) {
            writeln!(out, "{head}   … and {more} more; --json has them all")?;
        }
        for (dst, before, now) in self.answers {
            writeln!(out, "{head} {MOVES}~ {dst}{MOVES:#} {before} {DIM}→{DIM:#} {now}")?;
        }
        for Hop { rule, next_hop, now, then, .. } in self.moved.iter().take(SHOWN) {
            let rule = rule.as_deref().unwrap_or_default();
            writeln!(
                out,
                "{head} {MOVES}~ {rule} {next_hop}{MOVES:#} {} {DIM}→{DIM:#} {}",
                now.words, then.words
            )?;
        }
        match self.moved.len().checked_sub(SHOWN) {
            Some(more @ 1..) => writeln!(out, "{head}   … and {more} more next hops; --json has them all"),
            _ => Ok(()),
        }
    }

    fn as_json(&self, out: &mut impl Write) -> io::Result<()> {
        let head = |mut value: Value| {
            value["time"] = json!(since_1970());
            value["generation"] = json!(self.fib.generation());
            value
        };
        for change in self.changes {
            let (entry, added) = parts(change);
            let word = if added { "added" } else { "removed" };
            let mut value = entry_json(entry);
            value["change"] = json!(word);
            if let (Entry::Address { .. }, false) = (entry, added) {
                value["interface_down"] = json!(is_kept(entry, self.fib));
            }
            writeln!(out, "{}", head(value))?;
        }
        for (dst, before, now) in self.answers {
            let value = json!({ "change": "answer", "destination": dst, "before": before, "now": now });
            writeln!(out, "{}", head(value))?;
        }
        for hop in self.moved {
            let value = json!({
                "change": "next_hop", "rule": hop.rule, "next_hop": hop.next_hop,
                "before": hop.now, "now": hop.then,
            });
            writeln!(out, "{}", head(value))?;
        }
        Ok(())
    }
}

/// The changes that can be seen: what is shown alike before and after is no news, such as a route that only stands
/// elsewhere among those to its prefix because one before it has gone.
fn that_differ(mut changes: Vec<Difference>, shown: impl Fn(&Entry) -> String) -> Vec<Difference> {
    /// What may come and go at once under the same words.
    #[derive(PartialEq, Eq, Hash)]
    enum Subject {
        Link(Box<str>),
        Address(IpAddr),
        Label(Ipv6Net),
        Rule(u32),
        Route(u32, IpNet),
    }
    let subject = |entry: &Entry| match entry {
        Entry::Link(link) => Subject::Link(link.name.clone()),
        Entry::Address { address, .. } => Subject::Address(*address),
        Entry::Label { prefix, .. } => Subject::Label(*prefix),
        Entry::Rule(rule) => Subject::Rule(rule.priority),
        Entry::Route(route) => Subject::Route(route.table, route.prefix),
    };
    // A million routes that go with a link are not put in words for this.
    let mut sides: HashMap<Subject, [bool; 2]> = HashMap::new();
    for change in &changes {
        let (entry, added) = parts(change);
        sides.entry(subject(entry)).or_default()[usize::from(added)] = true;
    }
    let on_both = |entry: &Entry| sides.get(&subject(entry)) == Some(&[true, true]);
    let mut balance: HashMap<String, [u32; 2]> = HashMap::new();
    for (entry, added) in changes.iter().map(parts).filter(|(entry, _)| on_both(entry)) {
        balance.entry(shown(entry)).or_default()[usize::from(added)] += 1;
    }
    changes.retain(|change| {
        let (entry, _) = parts(change);
        !on_both(entry) || balance.get(&shown(entry)).is_none_or(|[removed, added]| removed != added)
    });
    changes
}

/// What has changed, and whether it was added.
fn parts(change: &Difference) -> (&Entry, bool) {
    match change {
        Difference::Added(entry) => (entry, true),
        Difference::Removed(entry) => (entry, false),
    }
}

/// An address that is out of use because its interface is down, and not because it was taken away.
fn is_kept(entry: &Entry, fib: &Fib) -> bool {
    let Entry::Address { address, dev } = entry else { return false };
    let down = |index: u32| fib.links().any(|link| link.index == index && !link.up);
    let Some(index) = fib.link_index(dev).filter(|index| down(*index)) else { return false };
    fib.assigned().any(|own| (own.address, own.dev) == (*address, index))
}

/// The entry, with the sources that a route selects where it prefers none.
fn in_words(entry: &Entry) -> String {
    let Entry::Route(RouteEntry { preferred_source: None, hops, .. }) = entry else {
        return entry.to_string();
    };
    let sources: Vec<String> = hops.iter().filter_map(|hop| Some(hop.source?.to_string())).collect();
    match &sources[..] {
        [] => entry.to_string(),
        [source] => format!("{entry} (source {source})"),
        several => format!("{entry} (sources {})", several.join(", ")),
    }
}

fn entry_json(entry: &Entry) -> Value {
    match entry {
        Entry::Link(link) => {
            json!({ "what": "link", "dev": link.name, "up": link.up, "carrier": link.carrier })
        }
        Entry::Address { address, dev } => json!({ "what": "address", "address": address, "dev": dev }),
        Entry::Label { prefix, dev, label } => {
            json!({ "what": "addrlabel", "prefix": prefix.to_string(), "dev": dev, "label": label })
        }
        Entry::Rule(rule) => {
            json!({ "what": "rule", "priority": rule.priority, "text": entry.to_string() })
        }
        Entry::Route(route) => {
            let path = |hop: &crate::fib::HopEntry| {
                json!({
                    "dev": hop.dev, "via": hop.gateway, "weight": hop.weight, "source": hop.source,
                    "usable": hop.usable, "blackhole": hop.blackhole,
                })
            };
            json!({
                "what": "route", "kind": route.kind.as_str(), "table": table_in_words(route.table).to_string(),
                "prefix": route.prefix.to_string(), "from": route.from.map(|from| from.to_string()), "metric": route.metric,
                "src": route.preferred_source, "paths": route.hops.iter().map(path).collect::<Vec<_>>(),
            })
        }
    }
}

/// How an unbound socket would be answered.
fn answer(fib: &Fib, dst: IpAddr) -> String {
    match fib.lookup(&Query::to(canonical(dst))) {
        Answer::Route(route) => format!("{} from {}", route.in_words(fib), route.source),
        Answer::No(why) => format!("nowhere: {}", why.in_words()),
        Answer::AskKernel => "unknown: the policy holds something that this version does not know".into(),
    }
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The time of day in UTC, to the millisecond.
fn clock() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (now.as_secs() % 86_400, now.subsec_millis());
    format!("{:02}:{:02}:{:02}.{millis:03}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::Builder;
    use crate::fib::spec::{Label, Link, Route};

    fn host(more: &[&str]) -> Builder {
        let gateway = Some("10.0.0.9".parse().unwrap());
        let host = Builder::host().link(Link::up(2, "eth1")).assign(2, "10.0.0.4/24".parse().unwrap());
        more.iter().fold(host, |host, prefix| host.route(Route::new(prefix.parse().unwrap(), 2, gateway)))
    }

    /// Without the time of day.
    fn told(before: &[&str], now: &[&str], args: &Diff) -> String {
        let mut teller = Teller { args, configured: None, known: Arc::new(host(before).build()) };
        let mut out = Vec::new();
        teller.tell(Arc::new(host(now).generation(7).build()), &mut out).unwrap();
        let text = anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned() + "\n").collect()
    }

    fn args(json: bool) -> Diff {
        Diff {
            dst: vec!["10.5.0.1".parse().unwrap()],
            config: None,
            user: AsUser::default(),
            seconds: None,
            json,
        }
    }

    #[test]
    fn a_line_for_each_change_and_each_answer() {
        assert_eq!(
            told(&["10.6.0.0/16"], &["10.5.0.0/16"], &args(false)),
            "#7 + route unicast 10.5.0.0/16 table main via 10.0.0.9 dev eth1 (source 10.0.0.4)\n\
             #7 - route unicast 10.6.0.0/16 table main via 10.0.0.9 dev eth1 (source 10.0.0.4)\n\
             #7 ~ 10.5.0.1 nowhere: there is no route → by eth1 via 10.0.0.9 (10.5.0.0/16, table main) from 10.0.0.4\n"
        );
        assert_eq!(told(&["10.6.0.0/16"], &["10.6.0.0/16"], &args(false)), "");
    }

    /// Where one of several routes to a prefix goes, the others keep what they are.
    #[test]
    fn what_only_moves_up_is_no_change() {
        let two = |metrics: &[u32]| {
            let route = |metric| Route::new("10.5.0.0/16".parse().unwrap(), 2, None).with_metric(metric);
            metrics.iter().fold(host(&[]), |host, metric| host.route(route(*metric))).build()
        };
        let changes = that_differ(two(&[2]).changes_since(&two(&[1, 2])), in_words);
        let [Difference::Removed(Entry::Route(gone))] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(gone.metric, 1);
    }

    fn words(now: Builder, before: Builder) -> String {
        let (now, before) = (now.generation(7).build(), before.build());
        let changes = that_differ(now.changes_since(&before), in_words);
        let mut out = Vec::new();
        Told { before: &before, fib: &now, changes: &changes, answers: &[], moved: &[] }
            .as_text(&mut out)
            .unwrap();
        let text = anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned() + "\n").collect()
    }

    /// A route that prefers a source selects none: which one it would select is not shown.
    #[test]
    fn what_is_shown_alike_is_no_change() {
        let prefers = |own: &str| {
            let route = Route::new("10.5.0.0/16".parse().unwrap(), 2, None);
            let host = Builder::host().link(Link::up(2, "eth1")).assign(2, own.parse().unwrap());
            host.route(route.with_source("127.0.0.1".parse().unwrap()))
        };
        let (now, before) = (prefers("10.0.0.5/24"), prefers("10.0.0.4/24"));
        let differ = now.clone().build().changes_since(&before.clone().build());
        let is_it = |change: &Difference| in_words(parts(change).0).contains("10.5.0.0/16");
        assert_eq!(differ.iter().filter(|change| is_it(change)).count(), 2, "they do differ: {differ:?}");
        let told = words(now, before);
        assert!(told.contains("+ address 10.0.0.5") && !told.contains("10.5.0.0/16"), "{told}");
    }

    /// An address label changes which source is chosen, and nothing else that is shown.
    #[test]
    fn an_address_label_is_shown() {
        let host = |label, dev| {
            let prefix = "2001:db8:77::/48".parse().unwrap();
            Builder::host().link(Link::up(2, "eth1")).label(Label { prefix, dev, label })
        };
        assert_eq!(
            words(host(99, 2), host(7, 0)),
            "#7 - addrlabel 2001:db8:77::/48 label 7\n#7 + addrlabel 2001:db8:77::/48 dev eth1 label 99\n"
        );
        assert_eq!(words(host(7, 0), host(7, 0)), "");
    }

    #[test]
    fn an_address_that_only_rests_says_so() {
        let link = |up| Builder::host().link(Link { up, ..Link::up(2, "eth1") });
        let host = |up| link(up).assign(2, "10.0.0.4/24".parse().unwrap());
        assert!(words(host(false), host(true)).contains("- address 10.0.0.4 dev eth1 (interface down)\n"));
        assert!(words(host(true), host(false)).contains("+ address 10.0.0.4 dev eth1 (interface up)\n"));
        assert!(words(link(true), host(true)).contains("- address 10.0.0.4 dev eth1\n"));
        assert!(words(link(false), host(true)).contains("- address 10.0.0.4 dev eth1\n"));
    }

    #[test]
    fn json_has_the_fields_of_a_route() {
        let (before, now) = (host(&[]).build(), host(&["10.5.0.0/16"]).generation(7).build());
        let changes = now.changes_since(&before);
        let mut out = Vec::new();
        Told { before: &before, fib: &now, changes: &changes, answers: &[], moved: &[] }
            .as_json(&mut out)
            .unwrap();
        let line: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            (&line["change"], &line["what"], &line["generation"]),
            (&json!("added"), &json!("route"), &json!(7))
        );
        assert_eq!((&line["table"], &line["prefix"]), (&json!("main"), &json!("10.5.0.0/16")));
        assert_eq!(
            (&line["paths"][0]["via"], &line["paths"][0]["dev"]),
            (&json!("10.0.0.9"), &json!("eth1"))
        );
        assert_eq!(line["paths"][0]["source"], "10.0.0.4");
        assert!(line["time"].is_f64());
    }

    #[test]
    fn a_million_routes_do_not_fill_the_screen() {
        let many: Vec<String> = (0..300).map(|n| format!("10.{}.{}.0/24", 5 + n / 250, n % 250)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let text = told(&[], &many, &args(false));
        assert!(text.contains("… and 100 more; --json has them all"), "{text}");
        assert_eq!(text.lines().count(), SHOWN + 2);
    }
}

//! `[[group]]`: gateways, how one is chosen, and how they are asked whether they live.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use super::diagnostic::Findings;
use super::listeners::Names;
use super::read::{Entry, Section, Text, duration_in_words};
use super::{egress, target};
use crate::group::{Alive, Pinging, Select, Settings, Way};
use crate::limits::{GATEWAYS, GATEWAYS_PER_GROUP, GROUPS};
use crate::net::GroupId;
use crate::plan::{Gateway, Group};
use crate::rules::Target;

/// The groups by name, for rules.
#[derive(Default)]
pub(super) struct Groups {
    all: Vec<Group>,
    places: Vec<Range<usize>>,
    /// Names of those that have mistakes in them.
    broken: HashSet<Box<str>>,
}

/// What `to = "group:NAME"` begins with.
pub(super) const PREFIX: &str = "group:";

const SECOND: Duration = Duration::from_secs(1);
const DEFAULT_EVERY: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_SLOW_RETURN: Duration = Duration::from_secs(30);
const DEFAULT_DOWN_AFTER: u8 = 3;
const DEFAULT_UP_AFTER: u8 = 2;

impl Groups {
    /// The `[[group]]` of the name, which follows [`PREFIX`].
    pub fn find(&self, text: &Text<'_>, name: &str, findings: &mut Findings) -> Option<GroupId> {
        let found = self.all.iter().find(|group| &*group.name == name);
        if found.is_none() && !self.broken.contains(name) {
            let mut known: Vec<&str> = self.all.iter().map(|group| &*group.name).collect();
            known.extend(self.broken.iter().map(|name| &**name));
            known.sort_unstable();
            let hint = match known.is_empty() {
                true => "there is no [[group]]".to_owned(),
                false => format!("groups are: {}", known.join(", ")),
            };
            findings.error(text.span.clone(), format!("there is no group «{name}»"), hint);
        }
        found.map(|group| group.id)
    }

    /// There is a `[[group]]` of this name.
    pub fn has(&self, name: &str) -> bool {
        self.all.iter().any(|group| &*group.name == name)
    }

    /// The `[[group]]` with this number.
    pub fn group(&self, id: GroupId) -> &Group {
        &self.all[usize::from(id.0)]
    }

    /// All of them; warns of those that no rule names.
    pub fn finish<'r>(self, named: impl Iterator<Item = &'r Target>, findings: &mut Findings) -> Vec<Group> {
        let named: HashSet<GroupId> = named.filter_map(Target::group).collect();
        for (group, place) in self.all.iter().zip(&self.places) {
            if !named.contains(&group.id) {
                findings
                    .warn(
                        place.clone(),
                        format!("no route names the group «{}»", group.name),
                        format!("write to = \"{PREFIX}{}\" in a [[route]], or delete it", group.name),
                    )
                    .code("unused-group");
            }
        }
        self.all
    }
}

/// All groups.
pub(super) fn build(entry: Option<Entry<'_>>, names: &Names, findings: &mut Findings) -> Groups {
    let sections = entry.map(|e| e.sections("[[group]]", findings)).unwrap_or_default();
    let mut groups = Groups::default();
    if sections.len() > GROUPS {
        findings.error(
            0..0,
            format!("more than {GROUPS} groups"),
            "a group holds many gateways: put those together that are alike",
        );
        return groups;
    }
    let mut gateways = 0;
    for section in sections {
        let place = section.span.clone();
        let id = GroupId(groups.all.len() as u16);
        let Some(group) = one(section, id, &mut groups, names, findings) else { continue };
        gateways += group.gateways.len();
        groups.all.push(group);
        groups.places.push(place);
    }
    if gateways > GATEWAYS {
        findings.error(
            0..0,
            format!("{gateways} gateways in all groups, {GATEWAYS} at most"),
            "a name that has several addresses is one gateway",
        );
    }
    groups
}

fn one(
    mut section: Section<'_>,
    id: GroupId,
    others: &mut Groups,
    names: &Names,
    findings: &mut Findings,
) -> Option<Group> {
    let name = section
        .need("name", r#""NAME": routes name the group by to = "group:NAME""#, findings)
        .and_then(|e| e.text(findings));
    let name = name.and_then(|text| group_name(&text, others, findings));
    let select = section.take("select").and_then(|e| e.text(findings));
    let select = select.map_or(Select::default(), |text| read_select(&text, findings));
    let entry = section.need("gateways", r#"[{ to = "sip:ADDRESS:PORT" }], one for each gateway"#, findings);
    let gateways = entry.and_then(|entry| gateways(&entry, names, findings));
    let (settings, pinging) = ping(section.take("ping"), findings);
    section.finish(findings);
    let name = name?;
    if gateways.is_none() {
        others.broken.insert(name.clone());
    }
    Some(Group::new(id, name, select, gateways?, settings, pinging))
}

fn group_name(text: &Text<'_>, others: &Groups, findings: &mut Findings) -> Option<Box<str>> {
    if text.text.is_empty() {
        findings.error(text.span.clone(), "a group needs a name", "routes say `to = \"group:NAME\"`");
        return None;
    }
    if others.all.iter().any(|group| &*group.name == text.text) {
        findings.error(
            text.span.clone(),
            format!("there are two groups «{}»", text.text),
            "put their gateways into one, or give one of them another name",
        );
        return None;
    }
    Some(text.text.into())
}

/// What is wrong is told, and taken for the default.
fn read_select(text: &Text<'_>, findings: &mut Findings) -> Select {
    let found = Select::ALL.into_iter().find(|select| select.as_str() == text.text);
    found.unwrap_or_else(|| {
        findings.error(
            text.span.clone(),
            format!("`select` cannot be «{}»", text.text),
            "write \"weighted\", \"call-id\" or \"number\"",
        );
        Select::default()
    })
}

/// Gateways with their priorities and weights.
fn gateways(entry: &Entry<'_>, names: &Names, findings: &mut Findings) -> Option<Vec<(Gateway, u16, u16)>> {
    if entry.is_empty() {
        findings.error(entry.span.clone(), "a group needs a gateway", "{ to = \"sip:ADDRESS:PORT\" }");
        return None;
    }
    if entry.is_text() || entry.is_table() {
        findings.error(
            entry.span.clone(),
            "`gateways` must be a list of tables",
            "gateways = [{ to = \"sip:ADDRESS:PORT\" }]",
        );
        return None;
    }
    let sections = entry.sections("`gateways`", findings);
    if sections.len() > GATEWAYS_PER_GROUP {
        let message = format!("{} gateways in a group, {GATEWAYS_PER_GROUP} at most", sections.len());
        findings.error(entry.span.clone(), message, "make groups of them, by priority");
        return None;
    }
    let (mut all, mut idle) = (Vec::<(Gateway, u16, u16)>::with_capacity(sections.len()), Vec::new());
    for section in sections {
        let place = section.span.clone();
        let Some(read) = gateway(section, names, findings) else { continue };
        if all.iter().any(|(other, ..)| is_same(&other.to, &read.0.to)) {
            findings.error(
                place,
                format!("{} stands in the group already", read.0.uri),
                "give it the sum of the weights",
            );
            continue;
        }
        if read.2 == 0 {
            idle.push((place, read.0.uri.clone()));
        }
        all.push(read);
    }
    if !all.is_empty() && all.len() == idle.len() {
        findings.error(entry.span.clone(), "no gateway of the group has a weight", "weight = 1");
        return None;
    }
    for (place, uri) in idle {
        findings
            .warn(
                place,
                format!("{uri} has the weight 0: it gets no requests"),
                "leave it so while it is to be idle; it is asked whether it lives as before",
            )
            .code("idle-gateway");
    }
    (!all.is_empty()).then_some(all)
}

fn is_same(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Address { ip, .. }, Target::Address { ip: same, .. }) => {
            (ip, one.usual_port()) == (same, other.usual_port())
        }
        (Target::Name { host, port, .. }, Target::Name { host: same, port: at, .. }) => {
            (host, port) == (same, at)
        }
        _ => false,
    }
}

fn gateway(mut section: Section<'_>, names: &Names, findings: &mut Findings) -> Option<(Gateway, u16, u16)> {
    let to = section
        .need("to", r#""sip:ADDRESS:PORT", or a host's name instead of the address"#, findings)
        .and_then(|e| e.text(findings));
    let mut to = to.and_then(|text| target::next_hop(&text, target::Of::Gateway, findings));
    let mut number = |key, findings: &mut Findings| -> u16 {
        let read = section.take(key).and_then(|e| e.number(0..65_536, findings));
        read.and_then(|number| number.try_into().ok()).unwrap_or(1)
    };
    let priority = number("priority", findings);
    let weight = number("weight", findings);
    let egress = match section.take("egress") {
        Some(entry) => {
            let choice = egress::read(&entry, names, findings)?;
            if let Some(to) = &mut to {
                egress::check(to, &choice, names, &entry, findings);
            }
            Some(choice)
        }
        None => None,
    };
    section.finish(findings);
    let to = to?;
    let uri = to.uri()?.into();
    Some((Gateway { to, uri, egress }, priority, weight))
}

/// How the group is watched; without `ping` it is not asked, and traffic alone tells.
fn ping(entry: Option<Entry<'_>>, findings: &mut Findings) -> (Settings, Option<Pinging>) {
    let mut settings = Settings {
        down_after: DEFAULT_DOWN_AFTER,
        up_after: DEFAULT_UP_AFTER,
        slow_return_ns: ns(DEFAULT_SLOW_RETURN),
        is_pinged: entry.is_some(),
    };
    let Some(mut section) = entry.and_then(|e| e.section("`ping`", findings)) else {
        return (settings, None);
    };
    let mut duration = |key, bounds, findings: &mut Findings| {
        section.take(key).and_then(|entry: Entry<'_>| Some((entry.duration(bounds, findings)?, entry.span)))
    };
    let every = duration("every", SECOND..=3_600 * SECOND, findings);
    let timeout = duration("timeout", SECOND / 10..=60 * SECOND, findings);
    let slow = duration("slow_return", Duration::ZERO..=3_600 * SECOND, findings);
    settings.slow_return_ns = ns(slow.map_or(DEFAULT_SLOW_RETURN, |(slow, _)| slow));
    let mut times = |key, findings: &mut Findings| {
        let bounds = 1..i64::from(Way::MOST_FAILURES) + 1;
        section.take(key).and_then(|e| e.number(bounds, findings)).and_then(|n| u8::try_from(n).ok())
    };
    settings.down_after = times("down_after", findings).unwrap_or(DEFAULT_DOWN_AFTER);
    settings.up_after = times("up_after", findings).unwrap_or(DEFAULT_UP_AFTER);
    let alive = section.take("alive").map_or_else(Alive::default, |entry| alive(&entry, findings));
    section.finish(findings);
    let every = every.map_or(DEFAULT_EVERY, |(every, _)| every);
    let (timeout, place) = timeout.unwrap_or((DEFAULT_TIMEOUT.min(every), 0..0));
    if timeout > every {
        findings.error(
            place,
            format!("`timeout` is longer than `every`, which is {}", duration_in_words(every)),
            "an answer is waited for until the next OPTIONS at most",
        );
    }
    (settings, Some(Pinging { every_ns: ns(every), timeout_ns: ns(timeout), alive }))
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Statuses and classes of them: `[200, "4xx"]`.
fn alive(entry: &Entry<'_>, findings: &mut Findings) -> Alive {
    let mut alive = Alive::none();
    for entry in entry.values(findings) {
        if !entry.is_text() {
            let status = entry.number(200..700, findings).and_then(|n| u16::try_from(n).ok());
            status.into_iter().for_each(|status| alive.add(status));
            continue;
        }
        let Some(text) = entry.text(findings) else { continue };
        let class = text.text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
        match class.filter(|class| (2..=6).contains(class)) {
            Some(class) => (class * 100..class * 100 + 100).for_each(|status| alive.add(status)),
            None => {
                findings.error(
                    text.span,
                    format!("«{}» is no status and no class of them", text.text),
                    "write 200 or \"4xx\"",
                );
            }
        }
    }
    alive
}

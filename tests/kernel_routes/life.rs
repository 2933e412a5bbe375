//! What happens to a host: random events, each a few commands, on a policy that is there.

use std::collections::BTreeSet;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct::fib::Fib;

use crate::dice::Dice;
use crate::policy::{self, Act, Policy, TABLES};

/// A host while things happen to it.
pub struct Life {
    pub policy: Policy,
    /// Links, by their place in [`Policy::links`], that are deleted.
    gone: BTreeSet<usize>,
    /// `ADDRESS/LENGTH` (with `peer ADDRESS`), and the place of its link; none for `lo`.
    addresses: Vec<(String, Option<usize>)>,
    /// Commands that have made routes, with `add` for whatever the verb was.
    routes: Vec<String>,
    /// Families and priorities.
    rules: Vec<(&'static str, usize)>,
    labels: Vec<String>,
    /// `PREFIX table TABLE metric METRIC` of an IPv6 route that paths join and leave.
    joint: String,
    /// The loopback device's queue length, which bears on nothing.
    queue: usize,
}

const fn family(v6: bool) -> &'static str {
    if v6 { "-6" } else { "-4" }
}

fn word_after<'a>(command: &'a str, word: &str) -> Option<&'a str> {
    command.split(' ').skip_while(|found| *found != word).nth(1)
}

/// The command that undoes one that made a route.
fn undoing(command: &str) -> String {
    command.replacen(" add ", " del ", 1)
}

impl Life {
    /// Of a host with this policy.
    pub fn new(policy: Policy) -> Self {
        let mut life = Self {
            gone: BTreeSet::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            labels: Vec::new(),
            joint: "2001:db8:3::/48 table 254 metric 77".to_owned(),
            queue: 1000,
            policy,
        };
        for command in std::mem::take(&mut life.policy.commands) {
            if command.starts_with("addr add") {
                life.remember_address(&command);
            } else if command.contains(" route ") {
                life.remember_route(&command);
            } else if let Some(priority) =
                word_after(&command, "pref").filter(|_| command.contains(" rule add"))
            {
                let priority = priority.parse().unwrap_or_default();
                life.rules.push((if command.starts_with("-6") { "-6" } else { "-4" }, priority));
            }
            life.policy.commands.push(command);
        }
        life
    }

    fn remember_address(&mut self, command: &str) {
        let words = command.trim_start_matches("addr add ").split(" dev ").next().unwrap_or_default();
        let place =
            word_after(command, "dev").and_then(|dev| self.policy.links.iter().position(|l| l == dev));
        self.addresses.push((words.trim_end_matches(" brd +").to_owned(), place));
    }

    fn remember_route(&mut self, command: &str) {
        let verb = word_after(command, "route").unwrap_or("add");
        self.routes.push(command.replacen(&format!(" {verb} "), " add ", 1));
    }

    /// What happens next, and what it is called.
    pub fn next(&mut self, dice: &mut Dice) -> (&'static str, Vec<Act>) {
        match dice.below(100) {
            0..=7 => ("link up or down", self.flap(dice)),
            8..=14 => ("carrier", self.carrier(dice)),
            15..=16 => ("link renamed", self.rename(dice)),
            17..=19 => ("link deleted or made", self.remake(dice)),
            20..=21 => ("link changed", self.change_link(dice)),
            22..=29 => ("IPv4 address", self.address4(dice)),
            30..=36 => ("IPv6 address", self.address6(dice)),
            37..=48 => ("nexthop object", self.nexthop(dice)),
            49..=63 => ("route added or replaced", self.add_route(dice)),
            64..=70 => ("route deleted", self.delete_route(dice)),
            71..=76 => ("route changed", self.change_route(dice)),
            77..=83 => ("paths of an IPv6 route", self.join(dice)),
            84..=90 => ("rule", self.rule(dice)),
            91..=92 => ("address label", self.label(dice)),
            93..=95 => ("sysctl", self.sysctl(dice)),
            _ => ("several at once", self.several(dice)),
        }
    }

    /// Lets packets leave without asking for neighbours, of whom there are none.
    pub fn trust(&self) -> Vec<Act> {
        let there = (0..self.policy.links.len()).filter(|place| !self.gone.contains(place));
        let names = there.flat_map(|place| [self.policy.links[place].clone(), format!("p{place}")]);
        names.map(|name| format!("link set {name} arp off").into()).collect()
    }

    /// The index of a link's other end.
    pub fn far(&self, fib: &Fib, dev: u32) -> Option<u32> {
        let name = fib.link_name(dev)?;
        match name.strip_prefix('p') {
            Some(place) => fib.link_index(self.policy.links.get(place.parse::<usize>().ok()?)?),
            None => fib.link_index(&format!("p{}", name.get(1..)?)),
        }
    }

    fn several(&mut self, dice: &mut Dice) -> Vec<Act> {
        let count = 2 + dice.below(6);
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.next(dice).1);
        }
        all
    }

    fn link(&self, dice: &mut Dice) -> (usize, String) {
        let place = dice.below(self.policy.links.len());
        (place, self.policy.links[place].clone())
    }

    fn flap(&mut self, dice: &mut Dice) -> Vec<Act> {
        let (_, name) = self.link(dice);
        let name = if dice.percent(4) { "lo".to_owned() } else { name };
        let states: &[&str] = match dice.below(4) {
            0 => &["down"],
            1 => &["down", "up"],
            _ => &["up"],
        };
        states.iter().map(|state| format!("link set {name} {state}").into()).collect()
    }

    fn carrier(&mut self, dice: &mut Dice) -> Vec<Act> {
        let (place, _) = self.link(dice);
        let states: &[&str] = match dice.below(5) {
            0 | 1 => &["down"],
            2 => &["down", "up"],
            _ => &["up"],
        };
        states.iter().map(|state| format!("link set p{place} {state}").into()).collect()
    }

    fn rename(&mut self, dice: &mut Dice) -> Vec<Act> {
        let (place, old) = self.link(dice);
        let new = if old.starts_with('v') { format!("w{place}") } else { format!("v{place}") };
        if self.gone.contains(&place) {
            return self.remake(dice);
        }
        self.policy.links[place] = new.clone();
        for route in &mut self.routes {
            *route = route.replace(&format!("dev {old}"), &format!("dev {new}"));
        }
        let after = if dice.percent(80) { "up" } else { "down" };
        ["down".into(), format!("name {new}")]
            .map(|what| format!("link set {old} {what}").into())
            .into_iter()
            .chain([format!("link set {new} {after}").into()])
            .collect()
    }

    fn remake(&mut self, dice: &mut Dice) -> Vec<Act> {
        let (place, name) = self.link(dice);
        let mut acts: Vec<Act> = Vec::new();
        if !self.gone.remove(&place) {
            acts.push(format!("link del {name}").into());
            self.addresses.retain(|(_, link)| *link != Some(place));
            if dice.percent(50) {
                self.gone.insert(place);
                return acts;
            }
        }
        acts.push(format!("link add {name} type veth peer name p{place}").into());
        acts.push(format!("link set p{place} addrgenmode none up").into());
        acts.push(format!("link set {name} up").into());
        for v6 in [false, true] {
            let own = self.new_address(dice, v6, place);
            acts.push(own);
        }
        acts
    }

    fn change_link(&mut self, dice: &mut Dice) -> Vec<Act> {
        let (_, name) = self.link(dice);
        match dice.below(3) {
            // Below 1280 there is no IPv6 on it.
            0 => vec![format!("link set {name} mtu {}", dice.pick(&[1200, 1500, 9000])).into()],
            _ => vec![
                format!("link set {name} up").into(),
                format!("link set {name} group {}", dice.pick(&[0, 5, 6])).into(),
            ],
        }
    }

    fn new_address(&mut self, dice: &mut Dice, v6: bool, place: usize) -> Act {
        let (net, name) = (place as u8 + 1, self.policy.links[place].clone());
        let host = dice.below(6) as u8 + 1;
        let (own, command): (IpAddr, _) = if v6 {
            let own = Ipv6Addr::new(0x2001, 0xdb8, net.into(), 0, 0, 0, 0, host.into());
            let flags = dice.pick(&["nodad", "nodad", "nodad preferred_lft 0", "nodad noprefixroute"]);
            (own.into(), format!("addr add {own}/{} dev {name} {flags}", dice.pick(&[64, 64, 64, 48, 128])))
        } else {
            let own = Ipv4Addr::new(10, net, dice.below(2) as u8, host);
            let length = dice.pick(&["24 brd +", "24 brd +", "16", "32"]);
            let scope = dice.pick(&["", "", "", "", " scope link", " scope host"]);
            if !scope.is_empty() {
                self.policy.link_scope.push(own.into());
            }
            (own.into(), format!("addr add {own}/{length} dev {name}{scope}"))
        };
        self.policy.own.push(own);
        self.remember_address(&command);
        command.into()
    }

    fn address4(&mut self, dice: &mut Dice) -> Vec<Act> {
        self.address(dice, false)
    }

    fn address6(&mut self, dice: &mut Dice) -> Vec<Act> {
        if dice.percent(15) {
            let (_, name) = self.link(dice);
            return vec![format!("-6 addr flush dev {name} scope link").into()];
        }
        self.address(dice, true)
    }

    fn address(&mut self, dice: &mut Dice, v6: bool) -> Vec<Act> {
        let there: Vec<usize> =
            (0..self.addresses.len()).filter(|at| self.addresses[*at].0.contains(':') == v6).collect();
        if there.is_empty() || dice.percent(45) {
            let (place, _) = self.link(dice);
            return vec![self.new_address(dice, v6, place)];
        }
        let at = *dice.pick(&there);
        let (words, place) = self.addresses[at].clone();
        let name = place.map_or("lo", |place| &self.policy.links[place]);
        if v6 && dice.percent(30) {
            let lifetime = dice.pick(&["preferred_lft 0", "preferred_lft forever valid_lft forever"]);
            return vec![format!("addr change {words} dev {name} {lifetime}").into()];
        }
        let gone: Vec<Act> = vec![format!("addr del {words} dev {name}").into()];
        self.addresses.remove(at);
        gone
    }

    fn nexthop(&mut self, dice: &mut Dice) -> Vec<Act> {
        let known = self.policy.objects.clone();
        let v6 = dice.percent(50);
        if known.is_empty() || dice.percent(20) {
            let id = 1 + dice.below(9) as u32;
            self.policy.objects.retain(|(other, _)| *other != id);
            self.policy.objects.push((id, v6));
            return vec![policy::nexthop(dice, &self.policy, v6, &format!("add id {id}")).into()];
        }
        let (id, v6) = *dice.pick(&known);
        if dice.percent(25) {
            self.policy.objects.retain(|(other, _)| *other != id);
            return vec![format!("nexthop del id {id}").into()];
        }
        if id <= 50 {
            let v6 = v6 != dice.percent(5);
            return vec![policy::nexthop(dice, &self.policy, v6, &format!("replace id {id}")).into()];
        }
        vec![self.group(dice, id, v6).into()]
    }

    fn group(&mut self, dice: &mut Dice, id: u32, v6: bool) -> String {
        let mut members = Vec::new();
        for (member, family) in &self.policy.objects {
            if *member <= 50 && *family == v6 && dice.percent(60) {
                members.push(format!("{member},{}", 1 + dice.below(5)));
            }
        }
        format!("{} nexthop replace id {id} group {}", family(v6), members.join("/"))
    }

    fn add_route(&mut self, dice: &mut Dice) -> Vec<Act> {
        let v6 = dice.percent(50);
        let command = policy::route(dice, &mut self.policy, v6);
        self.remember_route(&command);
        vec![command.into()]
    }

    fn delete_route(&mut self, dice: &mut Dice) -> Vec<Act> {
        let v6 = dice.percent(50);
        match dice.below(12) {
            0 => return vec![format!("{} route flush table {}", family(v6), dice.pick(&TABLES)).into()],
            1 => {
                let (place, name) = self.link(dice);
                let net = place + 1;
                let to = if v6 { format!("2001:db8:{net}::/64") } else { format!("10.{net}.0.0/24") };
                return vec![format!("{} route del {to} dev {name}", family(v6)).into()];
            }
            2 if !self.policy.own.is_empty() => {
                let own = *dice.pick(&self.policy.own);
                let family = family(own.is_ipv6());
                return vec![format!("{family} route del local {own} table local").into()];
            }
            _ => {}
        }
        if self.routes.is_empty() {
            return self.add_route(dice);
        }
        let at = dice.below(self.routes.len());
        let command = undoing(&self.routes[at]);
        if dice.percent(80) {
            self.routes.remove(at);
        }
        vec![command.into()]
    }

    /// The same prefix again, in another way: a metric, a table, a verb, a source.
    fn change_route(&mut self, dice: &mut Dice) -> Vec<Act> {
        if self.routes.is_empty() {
            return self.add_route(dice);
        }
        let at = dice.below(self.routes.len());
        let old = self.routes[at].clone();
        let verb = *dice.pick(&["add", "append", "prepend", "replace", "change"]);
        let mut new = old.replacen(" add ", &format!(" {verb} "), 1);
        let metric = format!("metric {}", dice.pick(&[5, 10, 20, 256, 1024]));
        match word_after(&old, "metric").filter(|_| dice.percent(70)) {
            Some(known) => new = new.replacen(&format!("metric {known}"), &metric, 1),
            None if !old.contains(" metric ") && dice.percent(50) => new = format!("{new} {metric}"),
            None => {
                let (_, link) = self.link(dice);
                if let Some(known) = word_after(&old, "dev") {
                    new = new.replacen(&format!("dev {known}"), &format!("dev {link}"), 1);
                }
            }
        }
        self.remember_route(&new);
        let mut acts = vec![new.into()];
        if dice.percent(40) {
            self.routes.remove(at);
            acts.push(undoing(&old).into());
        }
        acts
    }

    /// Paths come to an IPv6 route and leave it, one by one.
    fn join(&mut self, dice: &mut Dice) -> Vec<Act> {
        if dice.percent(15) {
            let to = policy::destination(dice, &mut self.policy, true);
            self.joint = format!("{to} table {} metric {}", dice.pick(&TABLES), dice.pick(&[10, 77, 1024]));
        }
        (0..1 + dice.below(3)).map(|_| self.joint_path(dice)).collect()
    }

    fn joint_path(&mut self, dice: &mut Dice) -> Act {
        let (gateway, dev) = policy::gateway(dice, &self.policy, true);
        let verb = *dice.pick(&["append", "append", "append", "del", "del", "replace", "add"]);
        let joint = &self.joint;
        // None without a gateway: the kernel's dump passes over those that stand between paths.
        let path = match dice.below(8) {
            0 => format!("nexthop via {gateway} dev {dev} nexthop via {gateway} dev {}", self.link(dice).1),
            1 if verb == "del" => String::new(),
            _ => format!("via {gateway} dev {dev} onlink"),
        };
        format!("-6 route {verb} {joint} {path}").trim_end().to_owned().into()
    }

    fn rule(&mut self, dice: &mut Dice) -> Vec<Act> {
        if !self.rules.is_empty() && dice.percent(45) {
            let (family, priority) = self.rules.swap_remove(dice.below(self.rules.len()));
            return vec![format!("{family} rule del pref {priority}").into()];
        }
        match dice.below(12) {
            // IPv6 obeys its boot rules, deleted or not, until the first rule is added.
            0 => {
                let family = family(dice.percent(50));
                vec![
                    format!("{family} rule add pref 32000 nop").into(),
                    format!("{family} rule del pref 32766").into(),
                ]
            }
            1 => vec![format!("{} rule add pref 32766 lookup main", family(dice.percent(50))).into()],
            _ => {
                let act = policy::rule(dice, &self.policy);
                self.rules.push(match &act {
                    Act::Rule(rule) => (family(rule.v6), rule.priority as usize),
                    Act::Ip(command) => (
                        family(command.starts_with("-6")),
                        word_after(command, "pref").and_then(|text| text.parse().ok()).unwrap_or(100),
                    ),
                    Act::Sysctl(..) => unreachable!("a rule is none"),
                });
                vec![act]
            }
        }
    }

    /// The kernel tells nobody of labels: they are found with the next change of a link.
    fn label(&mut self, dice: &mut Dice) -> Vec<Act> {
        let label = if !self.labels.is_empty() && dice.percent(40) {
            format!("addrlabel del {}", self.labels.swap_remove(dice.below(self.labels.len())))
        } else {
            let prefix = format!("prefix 2001:db8:{}::/{}", dice.below(6), dice.pick(&[48, 64, 32]));
            self.labels.push(prefix.clone());
            format!("addrlabel add {prefix} label {}", dice.pick(&[1, 5, 99]))
        };
        vec![label.into(), self.link_event()]
    }

    /// Something that the kernel tells of, and that changes nothing.
    fn link_event(&mut self) -> Act {
        self.queue += 1;
        format!("link set lo txqueuelen {}", self.queue).into()
    }

    fn sysctl(&mut self, dice: &mut Dice) -> Vec<Act> {
        const TOLD: [(&str, &str); 5] = [
            ("ipv4", "ignore_routes_with_linkdown"),
            ("ipv6", "ignore_routes_with_linkdown"),
            ("ipv6", "disable_ipv6"),
            ("ipv4", "promote_secondaries"),
            ("ipv6", "keep_addr_on_down"),
        ];
        // Not `route_localnet`: the kernel keeps sources that it has selected by it before.
        const SILENT: [(&str, &str); 2] = [("ipv6", "use_oif_addrs_only"), ("ipv6", "use_optimistic")];
        let (_, name) = self.link(dice);
        let value = dice.below(2).to_string();
        let act =
            |(family, key): (&str, &str)| Act::Sysctl(format!("{family}.conf.{name}.{key}"), value.clone());
        if dice.percent(70) {
            let told = *dice.pick(&TOLD);
            // Of this by routes and addresses; where there are no addresses, and no word of routes
            // (`skip_notify_on_dev_down`), not at all.
            let more = (told.1 == "disable_ipv6").then(|| self.link_event());
            return iter::once(act(told)).chain(more).collect();
        }
        vec![act(*dice.pick(&SILENT)), self.link_event()]
    }
}

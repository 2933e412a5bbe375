//! `rule add|del …`

use ipnet::IpNet;

use super::words::{Misread, Words};
use crate::fib::spec::{Action, Family, Masked, Ports, Rule, TABLE_MAIN};
use crate::fib::{Parts, Rib};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    add: bool,
    /// What was not said is as in a rule for everything.
    rule: Rule,
    priority: Option<u32>,
    action: Option<Action>,
}

impl Change {
    pub fn read(words: &mut Words<'_>, family: Option<Family>) -> Result<Self, Misread> {
        let add = match words.next() {
            Some("add") => true,
            Some("del" | "delete") => false,
            _ => return Err(words.misread("`add` or `del` stands here")),
        };
        let rule = Rule::new(family.unwrap_or(Family::V4), 0, Action::Table(TABLE_MAIN));
        let mut change = Self { add, rule, priority: None, action: None };
        let mut said = family;
        let mut word = words.next();
        if word.is_none() {
            return Err(words.misread("a selector (`from`, `to` …), `pref N` or an action stands here"));
        }
        while let Some(option) = word {
            change.option(option, words, &mut said)?;
            word = words.next();
        }
        change.rule.family = said.unwrap_or(Family::V4);
        if let Some(action) = change.action {
            change.rule.action = action;
        }
        Ok(change)
    }

    fn option(
        &mut self,
        word: &str,
        words: &mut Words<'_>,
        family: &mut Option<Family>,
    ) -> Result<(), Misread> {
        let rule = &mut self.rule;
        match word {
            "not" => rule.not = true,
            "from" => rule.from = network(words, family)?,
            "to" => rule.to = network(words, family)?,
            "iif" => rule.iif = Some(words.value::<String>("an interface's name")?.into()),
            "oif" => rule.oif = Some(words.value::<String>("an interface's name")?.into()),
            "fwmark" => rule.mark = Some(masked(words)?),
            "ipproto" => rule.protocol = protocol(words)?,
            "sport" => rule.sport = Some(ports(words)?),
            "dport" => rule.dport = Some(ports(words)?),
            "uidrange" => {
                let (first, last) = range(words, "a range of users: FIRST-LAST", false)?;
                rule.uids = Some(first..=last);
            }
            "suppress_prefixlength" => rule.suppress_prefix_len = Some(words.value("a prefix length")?),
            "priority" | "pref" | "preference" | "order" => {
                self.priority = Some(words.value("a priority")?);
            }
            "table" | "lookup" => self.action = Some(Action::Table(words.table()?)),
            "goto" => self.action = Some(Action::Goto(words.value("a priority")?)),
            "nop" => self.action = Some(Action::Nop),
            "blackhole" => self.action = Some(Action::Blackhole),
            "unreachable" => self.action = Some(Action::Unreachable),
            "prohibit" => self.action = Some(Action::Prohibit),
            _ => {
                return Err(words.misread(
                    "a selector (`from`, `to`, `fwmark`, `oif`, `ipproto`, `dport` …), `pref N` or an action \
                     (`lookup TABLE`, `prohibit` …) stands here",
                ));
            }
        }
        Ok(())
    }

    pub fn apply(&self, host: &mut Rib) -> Result<(), String> {
        let mut parts = host.parts().clone();
        if self.add {
            self.insert(&mut parts)?
        } else {
            self.delete(&mut parts)?
        }
        // With the first rule that is added or deleted, IPv4's tables `local` and `main` part.
        if self.rule.family == Family::V4 {
            parts.merged = false;
        }
        host.set_parts(parts);
        Ok(())
    }

    fn insert(&self, parts: &mut Parts) -> Result<(), String> {
        let priority = self.priority.unwrap_or_else(|| default_priority(&parts.rules, self.rule.family));
        let rule = Rule { priority, ..self.rule.clone() };
        if parts.rules.contains(&rule) {
            return Err("there is such a rule already".into());
        }
        if let Action::Goto(target) = rule.action
            && target <= priority
        {
            return Err(format!("`goto` leads forward: {target} is not behind {priority}"));
        }
        // Behind those of the same priority; sorted by it when they are set.
        parts.rules.push(rule);
        Ok(())
    }

    /// The first that has all that is said.
    fn delete(&self, parts: &mut Parts) -> Result<(), String> {
        let said = &self.rule;
        let found = parts.rules.iter().position(|rule| {
            rule.family == said.family
                && self.priority.is_none_or(|priority| rule.priority == priority)
                && self.action.is_none_or(|action| rule.action == action)
                && (!said.not || rule.not)
                && is_said(&said.from, &rule.from)
                && is_said(&said.to, &rule.to)
                && is_said(&said.iif, &rule.iif)
                && is_said(&said.oif, &rule.oif)
                && is_said(&said.mark, &rule.mark)
                && is_said(&said.uids, &rule.uids)
                && (said.protocol == 0 || rule.protocol == said.protocol)
                && is_said(&plain(said.sport), &plain(rule.sport))
                && is_said(&plain(said.dport), &plain(rule.dport))
                && is_said(&said.suppress_prefix_len, &rule.suppress_prefix_len)
        });
        let at = found.ok_or("there is no such rule; see `ip rule`")?;
        parts.rules.remove(at);
        Ok(())
    }
}

fn is_said<T: PartialEq>(said: &Option<T>, of_rule: &Option<T>) -> bool {
    said.is_none() || said == of_rule
}

/// Newer kernels tell of a single port as one under a full mask.
fn plain(ports: Option<Ports>) -> Option<Ports> {
    ports.map(
        |ports| if ports.mask == u16::MAX { Ports { last: ports.first, mask: 0, ..ports } } else { ports },
    )
}

/// `fib_default_rule_pref`: one before the second rule.
fn default_priority(rules: &[Rule], family: Family) -> u32 {
    let mut priorities: Vec<u32> = rules.iter().filter(|r| r.family == family).map(|r| r.priority).collect();
    priorities.sort_unstable();
    priorities.get(1).map_or(0, |second| second.saturating_sub(1))
}

fn network(words: &mut Words<'_>, family: &mut Option<Family>) -> Result<Option<IpNet>, Misread> {
    let word = words.next();
    let everything = matches!(word, Some("all" | "any" | "default"));
    let prefix = words.prefix(word, *family)?.trunc();
    if everything {
        return Ok(None);
    }
    let own = Family::of(prefix.addr());
    if family.is_some_and(|known| known != own) {
        return Err(words.misread("the prefix is of the other family"));
    }
    *family = Some(own);
    Ok(Some(prefix))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn masked(words: &mut Words<'_>) -> Result<Masked, Misread> {
    let word: String = words.value("a mark: N or N/MASK")?;
    let (value, mask) = match word.split_once('/') {
        Some((value, mask)) => (number(value), number(mask)),
        None => (number(&word), Some(u32::MAX)),
    };
    match (value, mask) {
        (Some(value), Some(mask)) => Ok(Masked { value, mask }),
        _ => Err(words.misread(format!("`{word}` is not a mark: N or N/MASK"))),
    }
}

fn protocol(words: &mut Words<'_>) -> Result<u8, Misread> {
    Ok(match words.value::<String>("a protocol")?.as_str() {
        "udp" => 17,
        "tcp" => 6,
        "icmp" => 1,
        number => number.parse().map_err(|_| words.misread("`udp`, `tcp` or a number stands here"))?,
    })
}

fn ports(words: &mut Words<'_>) -> Result<Ports, Misread> {
    match range(words, "a port or a range: FIRST-LAST", true)? {
        // For the kernel 0 is no port.
        (0, _) => Err(words.misread("ports begin at 1")),
        (first, last) => Ok(Ports { first, last, mask: 0 }),
    }
}

/// FIRST-LAST; FIRST alone where `one` is enough.
fn range<T: std::str::FromStr + PartialOrd + Copy>(
    words: &mut Words<'_>,
    what: &str,
    one: bool,
) -> Result<(T, T), Misread> {
    let word: String = words.value(what)?;
    let ends = word.split_once('-').or(one.then_some((&*word, &*word)));
    match ends.map(|(first, last)| (first.parse::<T>(), last.parse::<T>())) {
        Some((Ok(first), Ok(last))) if first <= last => Ok((first, last)),
        _ => Err(words.misread(format!("`{word}` is not {what}"))),
    }
}

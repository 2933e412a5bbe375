//! The answer for people: the decision first, then why, then what would be written.

use std::fmt;

use anstyle::{AnsiColor, Style};

use super::account::{Account, Considered};
use super::facts::RouteFacts;
use super::hops::Hop;
use super::steps::Step;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();

/// Listeners that lost and are shown; a host with hundreds would hide the answer.
const LOSERS: usize = 12;

/// Where the reasons of a step begin.
const MARGIN: usize = 20;

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        writeln!(f, "{BOLD}{}{BOLD:#}", request.start_line)?;
        writeln!(f, "from {} over {}, on listener {}", request.source, request.transport, request.listener)?;
        writeln!(f)?;
        self.verdict(f)?;
        self.facts(f)?;
        self.choice(f)?;
        self.written(f)?;
        for note in &self.notes {
            writeln!(f, "\n{WARN}note:{WARN:#} {note}")?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {DIM}{name:<10}{DIM:#} {value}")
}

impl Account {
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.egress, &self.next_hop, self.status) {
            (Some(from), Some(to), _) => writeln!(
                f,
                "{GOOD}FORWARD{GOOD:#} to {}:{} from listener {BOLD}{}{BOLD:#}",
                to.transport,
                socket(to.address, to.port),
                from.listener
            ),
            (_, _, Some(status)) => {
                let (word, style) = if status < 300 { ("ANSWER", GOOD) } else { ("REJECT", BAD) };
                writeln!(f, "{style}{word}{style:#} {}", self.answer.first().map_or("", String::as_str))?;
                // The Warning says in one line what stands below in several.
                let more = self.answer.iter().skip(1).filter(|_| self.no_egress.is_none());
                more.into_iter().try_for_each(|line| writeln!(f, "  {line}"))
            }
            _ => writeln!(
                f,
                "{BAD}DROP{BAD:#} {}: {}",
                self.drop_reason.unwrap_or_default(),
                self.drop_sentence.unwrap_or_default().trim()
            ),
        }
    }

    fn facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.rule, self.rule_line) {
            (Some(rule), Some(line)) => row(f, "rule", format_args!("{rule} (line {line})"))?,
            (Some(rule), None) => row(f, "rule", rule)?,
            (None, _) if self.no_rule.is_empty() => {}
            (None, _) => row(f, "rule", self.no_rule)?,
        }
        for (told, limit) in self.limits.iter().zip(std::iter::once("limits").chain(std::iter::repeat(""))) {
            row(f, limit, told)?;
        }
        for (told, set) in self.set.iter().zip(std::iter::once("set").chain(std::iter::repeat(""))) {
            row(f, set, told)?;
        }
        for (told, mode) in
            self.transaction.iter().zip(std::iter::once("stateful").chain(std::iter::repeat("")))
        {
            row(f, mode, told)?;
        }
        self.groups.iter().try_for_each(|group| write!(f, "{group}"))?;
        self.names.iter().try_for_each(|name| row(f, "name", name))?;
        for (at, hop) in self.next_hops.iter().enumerate() {
            let name = if at == 0 { "next hops" } else { "" };
            row(f, name, format_args!("{}. {hop}", at + 1))?;
        }
        self.failover.iter().try_for_each(|how| row(f, "", how))?;
        if let Some(to) = &self.next_hop {
            row(f, "next hop", format_args!("{}:{}", to.transport, socket(to.address, to.port)))?;
        }
        self.tls.iter().try_for_each(|tls| row(f, "tls", tls))?;
        if let Some(why) = &self.no_egress {
            row(f, "egress", format_args!("{BAD}none{BAD:#}: {why}"))?;
        }
        if let Some(from) = &self.egress {
            let socket = socket(from.address, from.port);
            row(f, "egress", format_args!("{} ({}:{socket})", from.listener, from.transport))?;
            let step = from.step.map(|step| format!(", step {step}")).unwrap_or_default();
            row(f, "because", format_args!("{} ({}{step})", from.why, from.reason))?;
        }
        self.route.iter().try_for_each(|route| row(f, "route", route))?;
        self.policy.iter().try_for_each(|policy| row(f, "led by", policy))
    }

    fn choice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nHow it was chosen")?;
        self.steps.iter().try_for_each(|step| write!(f, "{step}"))?;
        self.remedy.iter().try_for_each(|remedy| writeln!(f, "  {WARN}hint:{WARN:#} {remedy}"))
    }

    fn written(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start_line = self.start_line.as_ref().filter(|line| **line != self.request.start_line);
        if start_line.is_none() && self.via.is_none() {
            return Ok(());
        }
        writeln!(f, "\nWhat would be written")?;
        start_line.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        self.via.iter().try_for_each(|via| writeln!(f, "  Via: {via}"))?;
        self.record_route.iter().try_for_each(|value| writeln!(f, "  Record-Route: {value}"))
    }
}

fn socket(address: std::net::IpAddr, port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new(address, port)
}

impl fmt::Display for RouteFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in table {} by {}", self.prefix, self.table, self.dev)?;
        match self.gateway {
            Some(gateway) => write!(f, " via {gateway}")?,
            None => f.write_str(", on the link")?,
        }
        write!(f, ", source {}", self.source)
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, socket(self.address, self.port))?;
        match (&self.listener, self.reason, &self.no_egress) {
            (Some(listener), Some(reason), _) => write!(f, " from {listener} ({reason})"),
            (.., Some(why)) => write!(f, ", not tried: {why}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, step, verdict, why, .. } = self;
        let style = match *verdict {
            "decides" => GOOD,
            "fails" => BAD,
            _ => DIM,
        };
        writeln!(f, "  {number:<6} {step:<10} {style}{verdict:<10}{style:#} {why}")?;
        for step in self.lookup.iter().flat_map(|lookup| &lookup.steps) {
            writeln!(f, "{:MARGIN$}{DIM}{}{DIM:#}", "", step.text)?;
        }
        let width = self.listeners.iter().map(|l| l.listener.chars().count()).max().unwrap_or(0);
        let socket = self.listeners.iter().map(|l| l.socket.len()).max().unwrap_or(0);
        let mut losers = 0;
        for Considered { listener, socket: at, lost, .. } in &self.listeners {
            losers += usize::from(lost.is_some());
            let (style, mark) = if lost.is_none() { (GOOD, '✓') } else { (BAD, '✗') };
            if lost.is_none() || losers <= LOSERS {
                write!(f, "{:MARGIN$}{style}{mark}{style:#} {listener:<width$}  ", "")?;
                match lost {
                    Some(words) => writeln!(f, "{DIM}{at:<socket$}{DIM:#}  {words}")?,
                    None => writeln!(f, "{DIM}{at}{DIM:#}")?,
                }
            }
        }
        match losers.checked_sub(LOSERS) {
            Some(more @ 1..) => writeln!(f, "{:MARGIN$}… and {more} more; --json has them all", ""),
            _ => Ok(()),
        }
    }
}

//! `mode`: whether transactions are kept, and what would be lost without them.

use super::diagnostic::Findings;
use super::groups::Groups;
use super::listeners::Names;
use super::read::Text;
use crate::net::Transport;
use crate::rules::{EgressChoice, Mode, Target, When};

/// What is wrong is told, and taken for the default.
pub(super) fn read(text: &Text<'_>, findings: &mut Findings) -> Mode {
    let found = [Mode::Stateless, Mode::Stateful].into_iter().find(|mode| mode.as_str() == text.text);
    found.unwrap_or_else(|| {
        findings.error(
            text.span.clone(),
            format!("`mode` cannot be «{}»", text.text),
            "write \"stateless\" or \"stateful\"",
        );
        Mode::default()
    })
}

/// Listeners and groups, which say what goes in and out by which transport.
pub(super) struct Ways<'a> {
    pub names: &'a Names,
    pub groups: &'a Groups,
}

impl Ways<'_> {
    /// Holds `mode = "stateless"` against where requests of a rule come in and go out.
    ///
    /// Whoever sends by a connection will not send again, so that what goes on over UDP has to be kept until it is answered.
    /// What goes on by another connection is kept as well: its CANCEL may come by another one than it did.
    pub fn hold_stateless(
        &self,
        when: &When,
        targets: &[Target],
        egress: Option<&EgressChoice>,
        mode: &Text<'_>,
        findings: &mut Findings,
    ) {
        let streams = self.streams(when);
        if streams.is_empty() {
            return;
        }
        let over = streams.join(" and ");
        const HINT: &str =
            "leave `mode` out, which keeps those requests only; or have `when` ask for transport = [\"udp\"]";
        if targets.iter().any(|target| self.may_leave_over_udp(target, egress)) {
            let message = format!(
                "`mode = \"stateless\"` would lose requests that come in over {over} and go on over UDP"
            );
            findings
                .error(
                    mode.span.clone(),
                    message,
                    format!("nobody sends them again: write \"stateful\", or {HINT}"),
                )
                .code("stateless-to-udp");
        } else {
            let message =
                format!("requests that come in over {over} are kept as transactions, whatever `mode` says");
            findings.warn(mode.span.clone(), message, HINT).code("stateless-by-stream");
        }
    }

    /// Over which transports requests that the rule is about come in by connections, as a Via names them. Of a listener for UDP
    /// that takes connections besides, and of which nothing is said, those requests are kept, and the others are not.
    fn streams(&self, when: &When) -> Vec<&'static str> {
        let sections = self.names.sections();
        let meant = sections.iter().filter(|s| when.listener.is_empty() || when.listener.contains(&s.id));
        let is_excluded = |transport: Transport| {
            let alone = |not: &When| *not == When { transport: not.transport.clone(), ..When::default() };
            when.not.as_deref().is_some_and(|not| alone(not) && not.transport.contains(&transport))
        };
        let is_stream = |transport: &Transport| *transport != Transport::Udp && !is_excluded(*transport);
        let mut streams: Vec<Transport> = meant
            .flat_map(|section| match &when.transport[..] {
                [] => vec![section.transport],
                asked => asked.iter().copied().filter(|asked| section.serves(*asked)).collect(),
            })
            .filter(is_stream)
            .collect();
        streams.sort_unstable();
        streams.dedup();
        streams.into_iter().map(Transport::via).collect()
    }

    /// Some request goes on over UDP there. What DNS or the request says is not known: without a word it is UDP.
    fn may_leave_over_udp(&self, target: &Target, egress: Option<&EgressChoice>) -> bool {
        if let Target::Group { id, .. } = target {
            let gateways = &self.groups.group(*id).gateways;
            return gateways.iter().any(|g| self.may_leave_over_udp(&g.to, g.egress.as_ref().or(egress)));
        }
        let asked = target.transport();
        let leaves = match egress {
            None => asked,
            Some(EgressChoice::Relative { transport, .. }) => Some(*transport),
            Some(EgressChoice::Listener(id)) => {
                let section = self.names.section(*id);
                Some(asked.filter(|asked| section.serves(*asked)).unwrap_or(section.transport))
            }
        };
        leaves.is_none_or(|transport| transport == Transport::Udp)
    }
}

//! What was not let in, as text.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Readings, counter, put, put_alone};
use crate::overload::Excess;

impl Readings {
    /// What filters at sockets have dropped.
    pub(super) fn filtered(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family = counter(
            out,
            "filtered_requests",
            "Requests that began something and that the kernel dropped before they were read, because more came than can be \
             handled",
        )?;
        for l in &self.listeners {
            put(&mut family, &[("listener", &*l.name)], l.drops.filtered)?;
        }
        Ok(())
    }

    pub(super) fn admission(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        self.by_label(out, "requests_refused", "Requests refused because too many came", "reason", |s| {
            Excess::ALL.map(|excess| (excess.label(), &s.admission.refused[excess as usize]))
        })?;
        put_alone(
            counter(out, "limited_sources_forgotten", "Sources whose limit began anew for want of room")?,
            self.sum(|s| s.admission.sources_forgotten.get()),
        )?;
        self.per_shard(out, false, "overloaded", "1 while more comes in than the shard can handle", |s| {
            &s.admission.overloaded
        })?;
        put_alone(
            counter(
                out,
                "next_hops_spared",
                "Requests not sent to a next hop that had asked to be sent less",
            )?,
            self.sum(|s| s.admission.spared.get()),
        )?;
        put_alone(
            counter(out, "next_hop_pleas", "Answers in which a next hop asked to be sent less")?,
            self.sum(|s| s.admission.pleas.get()),
        )?;
        self.per_shard(out, false, "next_hops_throttled", "1 while some next hop asks to be sent less", |s| {
            &s.admission.throttled
        })
    }
}

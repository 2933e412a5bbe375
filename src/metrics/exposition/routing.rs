//! How the kernel's routing policy is followed, as text.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Readings, counter, gauge, put_alone};

impl Readings {
    pub(super) fn routing(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let r = &self.process.routing;
        gauge(out, "routes", "Prefixes that have a route, of all tables of both families")?
            .encode_gauge(&r.routes)?;
        let mut family = out.encode_descriptor(
            "routing_delay",
            "From the first routing event that the newest routing snapshot holds to that snapshot",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        family.encode_gauge(&r.delay.as_secs_f64())?;
        let counters = [
            ("routing_snapshots", "Routing snapshots made", r.generation),
            ("routing_events", "Routing events read from the kernel", r.events),
            ("routing_overruns", "Times when more routing events came than the socket holds", r.overruns),
            ("routing_resyncs", "Times when events did not suffice and all tables were read anew", r.resyncs),
            ("routing_audits", "Comparisons of followed tables with the kernel's", r.audits),
            ("routing_mismatches", "Prefixes that such a comparison found to differ", r.mismatches),
        ];
        for (name, help, value) in counters {
            put_alone(counter(out, name, help)?, value)?;
        }
        Ok(())
    }
}

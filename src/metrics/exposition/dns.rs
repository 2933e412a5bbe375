//! What is known of names, as text.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Readings, counter, gauge, put, put_alone};
use crate::dns::{Kind, Unresolved};
use crate::metrics::Said;

impl Readings {
    pub(super) fn dns(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let dns = &self.process.dns;
        let mut family = counter(out, "dns_queries", "Queries to name servers, by type and outcome")?;
        for kind in Kind::ALL {
            for said in Said::ALL {
                let labels = [("type", kind.as_str()), ("outcome", said.label())];
                put(&mut family, &labels, dns.queries[kind as usize][said as usize])?;
            }
        }
        let mut family = out.encode_descriptor(
            "dns_query",
            "Time that all queries to name servers took together",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        family.encode_counter::<prometheus_client::encoding::NoLabelSet, _, f64>(
            &dns.took.as_secs_f64(),
            None,
        )?;
        let gauges = [
            ("dns_names", "Names that are kept", dns.kept.names),
            ("dns_names_unresolved", "Names that are kept and lead nowhere", dns.kept.unresolved),
            ("dns_names_stale", "Names in use whose time is over because no server can tell", dns.kept.stale),
            ("dns_lookups", "Names that are being looked up", dns.under_way),
            ("dns_questions_waiting", "Names of messages that wait to be looked up", dns.waiting),
            (
                "dns_messages_waiting",
                "Messages that wait for a name",
                self.sum(|s| s.parked_for_names_now.get()),
            ),
            ("names_unresolved", "Names in rules' to that lead nowhere now", self.process.names_unresolved),
        ];
        for (name, help, value) in gauges {
            gauge(out, name, help)?.encode_gauge(&value)?;
        }
        let counters = [
            ("dns_names_evicted", "Names that were pushed out by others", dns.kept.evicted),
            ("dns_questions_refused", "Names not looked up because all room was taken", dns.refused),
            (
                "dns_messages_parked",
                "Messages that waited for a name",
                self.sum(|s| s.parked_for_names.get()),
            ),
            ("dns_hits", "Requests that a known name led to servers", self.sum(|s| s.names_found.get())),
            (
                "dns_stale_hits",
                "Of those, by an answer whose time was over because no server could tell",
                self.sum(|s| s.names_stale.get()),
            ),
        ];
        for (name, help, value) in counters {
            put_alone(counter(out, name, help)?, value)?;
        }
        let help = "Requests that went nowhere because of a name, by reason";
        let mut family = counter(out, "dns_unresolved", help)?;
        for why in Unresolved::ALL {
            let count = self.sum(|s| s.unresolved[why as usize].get());
            put(&mut family, &[("reason", why.label())], count)?;
        }
        Ok(())
    }
}

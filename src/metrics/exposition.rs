//! The counters as OpenMetrics text, which Prometheus reads.

mod admission;
mod certificates;
mod connections;
mod dns;
mod gateways;
mod routing;
mod transactions;

pub use certificates::CertificateReading;
pub use gateways::{GatewayReading, PingCounts, WayReading};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Class, Counter, DnsReadings, Drops, RoutingCounts, SeriesId, ShardMetrics};
use crate::drop_reason::DropReason;
use crate::egress::{ListenerState, Reason};
use crate::findings::Code;

/// Media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that is told at one moment.
#[derive(Debug)]
pub struct Readings {
    /// Every shard's counters, by shard number.
    pub shards: Vec<Arc<ShardMetrics>>,
    /// Which listener counts where.
    pub listeners: Vec<ListenerReading>,
    /// How the listeners of the configuration in force do.
    pub standings: Vec<ListenerStanding>,
    /// How the gateways of the configuration in force do.
    pub gateways: Vec<GatewayReading>,
    /// Certificates of the configuration in force.
    pub certificates: Vec<CertificateReading>,
    /// What the control thread knows.
    pub process: ProcessReadings,
}

/// One listener.
#[derive(Debug)]
pub struct ListenerReading {
    /// Its name.
    pub name: Box<str>,
    /// Its place in the traffic tables.
    pub series: SeriesId,
    /// Datagrams that the kernel dropped.
    pub drops: Drops,
    /// Sockets open now, over all shards.
    pub sockets: u64,
}

/// How a listener of the configuration in force does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStanding {
    /// Its name.
    pub name: Box<str>,
    /// Transport, address and port.
    pub bound: Box<str>,
    /// Its state.
    pub state: ListenerState,
    /// Why, in a clause.
    pub cause: Box<str>,
}

/// Changes of listeners since the start, reloads apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerChanges {
    /// Listeners whose address has appeared.
    pub appeared: u64,
    /// Listeners whose address went.
    pub gone: u64,
    /// Changes of state.
    pub states: u64,
}

/// What the control thread knows.
#[derive(Clone, Debug, Default)]
pub struct ProcessReadings {
    /// Program version.
    pub version: &'static str,
    /// Seconds since 1970, now.
    pub unix_time: u64,
    /// Shards that forward now.
    pub shards_up: u64,
    /// Generation of the newest snapshot.
    pub generation: u64,
    /// Since when it is the newest.
    pub snapshot_age: Duration,
    /// Snapshots that some shard still holds.
    pub snapshots_alive: u64,
    /// Snapshots published since the start.
    pub publications: u64,
    /// How the kernel's routing policy is followed.
    pub routing: RoutingCounts,
    /// Reloads that took effect.
    pub reloads: u64,
    /// Reloads that were refused.
    pub reloads_failed: u64,
    /// Times that files of certificates had changed and could not be used.
    pub certificates_failed: u64,
    /// Names in `to` that lead nowhere now.
    pub names_unresolved: u64,
    /// What is known of names.
    pub dns: DnsReadings,
    /// Log lines that could not be written.
    pub log_lines_lost: u64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// What came and went with the host's addresses and links.
    pub listener_changes: ListenerChanges,
    /// What `check` would find now.
    pub findings: FindingReadings,
}

/// Where configuration and routing do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FindingReadings {
    /// Open findings by [`Code::index`].
    pub open: [u64; Code::ALL.len()],
    /// Findings that have come up since the start.
    pub opened: u64,
    /// Findings that have gone since the start.
    pub resolved: u64,
    /// Rules and names that were not yet held against the newest snapshot.
    pub unexamined: u64,
}

/// Writes the text.
///
/// # Errors
/// None in practice: only a formatter that fails.
pub fn render(readings: Readings) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("viaduct");
    registry.register_collector(Box::new(readings));
    let mut text = String::with_capacity(32 * 1024);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let out = &mut encoder;
        self.messages(out)?;
        self.drops_and_answers(out)?;
        self.listeners(out)?;
        self.decisions(out)?;
        self.admission(out)?;
        self.transactions(out)?;
        self.gateways(out)?;
        self.certificates(out)?;
        self.dns(out)?;
        self.shards(out)?;
        self.engines(out)?;
        self.connections(out)?;
        self.findings(out)?;
        self.routing(out)?;
        self.process(out)
    }
}

impl Readings {
    fn messages(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family = counter(
            out,
            "messages",
            "SIP messages by listener, class (method or status class), direction and, outbound, the reason for \
             the egress; those in are each counted once more: as out, in answers or in dropped",
        )?;
        for listener in &self.listeners {
            for class in Class::ALL {
                let received = self.sum(|s| s.traffic.received_count(listener.series, *class));
                let labels = [
                    ("listener", &*listener.name),
                    ("class", class.label()),
                    ("direction", "in"),
                    ("reason", ""),
                    ("step", ""),
                ];
                put_nonzero(&mut family, &labels, received)?;
                for reason in Reason::ALL {
                    let sent = self.sum(|s| s.traffic.sent_count(listener.series, *class, reason));
                    let labels = [
                        ("listener", &*listener.name),
                        ("class", class.label()),
                        ("direction", "out"),
                        ("reason", reason.label()),
                        ("step", reason.step()),
                    ];
                    put_nonzero(&mut family, &labels, sent)?;
                }
            }
        }
        Ok(())
    }

    fn drops_and_answers(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family =
            counter(out, "dropped", "Messages that went no further and got no answer, by reason")?;
        for reason in DropReason::ALL {
            put(&mut family, &[("reason", reason.label())], self.sum(|s| s.dropped_count(*reason)))?;
        }
        let mut answers = std::collections::BTreeMap::<u16, u64>::new();
        for (status, count) in self.shards.iter().flat_map(|s| s.answers()) {
            *answers.entry(status).or_default() += count;
        }
        let mut family = counter(out, "answers", "Answers of Viaduct's own, by status")?;
        for (status, count) in answers {
            put(&mut family, &[("status", status.to_string())], count)?;
        }
        Ok(())
    }

    fn listeners(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family = counter(
            out,
            "kernel_receive_drops",
            "Datagrams that the kernel dropped because a socket's receive buffer was full",
        )?;
        for l in &self.listeners {
            put(&mut family, &[("listener", &*l.name)], l.drops.full)?;
        }
        self.filtered(out)?;
        let mut family = gauge(out, "listener_sockets", "Sockets open for a listener, over all shards")?;
        for l in &self.listeners {
            put_gauge(&mut family, &[("listener", &*l.name)], l.sockets)?;
        }
        self.listener_states(out)
    }

    fn listener_states(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family =
            gauge(out, "listener_state", "1 for the state that a listener is in, 0 for the others")?;
        for l in &self.standings {
            for state in ListenerState::ALL {
                let labels = [("listener", &*l.name), ("state", state.label())];
                put_gauge(&mut family, &labels, u64::from(l.state == state))?;
            }
        }
        let mut family = counter(
            out,
            "listener_changes",
            "Listeners that came and went with the host's addresses, and changes of listeners' states",
        )?;
        let ListenerChanges { appeared, gone, states } = self.process.listener_changes;
        for (change, count) in [("appeared", appeared), ("gone", gone), ("state", states)] {
            put(&mut family, &[("change", change)], count)?;
        }
        let mut family = out.encode_descriptor(
            "sockets_delay",
            "From the routing event or the reload that changed the sockets last to a shard's having them",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (label, shard) in self.labelled() {
            put_seconds(&mut family, &label, shard.sockets_delay_ns.get(), false)?;
        }
        Ok(())
    }

    fn decisions(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        type Read = fn(&ShardMetrics) -> &Counter;
        let counters: [(&str, &str, Read); 5] = [
            ("pin_hits", "Messages that went the way of their transaction's earlier ones", |s| &s.pin_hits),
            ("pin_evictions", "Transactions in flight forgotten early because the table was full", |s| {
                &s.pin_evictions
            }),
            ("egress_moved", "Transactions in flight moved because their listener could not send", |s| {
                &s.egress_moved
            }),
            ("bad_tokens", "Tokens of Viaduct's form that did not verify", |s| &s.bad_tokens),
            ("messages_parked", "Messages that waited until the kernel itself was asked for a route", |s| {
                &s.parked
            }),
        ];
        for (name, help, read) in counters {
            put_alone(counter(out, name, help)?, self.sum(|s| read(s).get()))?;
        }
        let held = self.sum(|s| s.pins.get());
        gauge(out, "pins", "Transactions in flight that are remembered")?.encode_gauge(&held)?;
        let waiting = self.sum(|s| s.parked_now.get());
        gauge(out, "messages_waiting", "Messages that wait until the kernel itself is asked for a route")?
            .encode_gauge(&waiting)
    }

    fn shards(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        self.per_shard(out, true, "batches", "Batches of events handled", |s| &s.batches)?;
        let mut family = out.encode_descriptor(
            "busy",
            "Time spent on batches",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for (label, shard) in self.labelled() {
            put_seconds(&mut family, &label, shard.busy_ns.get(), true)?;
        }
        let mut family = out.encode_descriptor(
            "worst_batch",
            "The longest batch of the last 15 to 30 seconds",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (label, shard) in self.labelled() {
            put_seconds(&mut family, &label, shard.worst_batch_ns.get(), false)?;
        }
        self.long_batches(out)?;
        self.per_shard(out, false, "shard_generation", "Snapshot that a shard decides by", |s| {
            &s.generation
        })?;
        self.per_shard(out, false, "sends_in_flight", "Sends that the kernel has not finished", |s| {
            &s.in_flight
        })?;
        self.per_shard(out, true, "log_records_lost", "Log records lost for want of room", |s| {
            &s.records_lost
        })
    }

    fn long_batches(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        self.per_shard(out, true, "long_batches", "Batches that took 5 ms or longer", |s| &s.long_batches)?;
        let mut family = out.encode_descriptor(
            "long_batches",
            "Time spent on batches that took 5 ms or longer",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for (label, shard) in self.labelled() {
            put_seconds(&mut family, &label, shard.long_batches_ns.get(), true)?;
        }
        Ok(())
    }

    fn engines(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        type Row = (bool, &'static str, &'static str, fn(&ShardMetrics) -> &Counter);
        let rows: [Row; 12] = [
            (false, "receive_buffers", "Receive buffers of a shard", |s| &s.engine.receive_buffers),
            (false, "receive_buffers_used", "Receive buffers whose message is yet to be handled", |s| {
                &s.engine.receive_buffers_used
            }),
            (false, "send_buffers", "Send buffers of a shard", |s| &s.engine.send_buffers),
            (false, "send_buffers_used", "Send buffers in use", |s| &s.engine.send_buffers_used),
            (false, "ring_entries", "Entries of a completion ring", |s| &s.engine.ring_entries),
            (false, "ring_used", "Completions that were ready at the last look", |s| &s.engine.ring_used),
            (true, "ring_overflows", "Times a completion ring overflowed", |s| &s.engine.ring_overflows),
            (true, "receive_starved", "Times a receive ended because all receive buffers were in use", |s| {
                &s.engine.receive_starved
            }),
            (true, "receive_restarts", "Times a receive was started again", |s| &s.engine.receive_restarts),
            (true, "coalesced_waits", "Waits in which messages were collected", |s| {
                &s.engine.coalesced_waits
            }),
            (true, "spun_waits", "Waits that ended before the shard slept", |s| &s.engine.spun_waits),
            (true, "accepts_failed", "Times a connection could not be accepted", |s| {
                &s.engine.accepts_failed
            }),
        ];
        for (counts, name, help, read) in rows {
            self.per_shard(out, counts, name, help, read)?;
        }
        Ok(())
    }

    fn findings(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let p = &self.process.findings;
        let mut family = gauge(
            out,
            "findings",
            "Where configuration and routing do not fit now, by code; see viaduct check",
        )?;
        for code in Code::ALL {
            put_gauge(&mut family, &[("code", code.label())], p.open[code.index()])?;
        }
        let mut family = counter(out, "findings_changes", "Findings that have come up and gone")?;
        put(&mut family, &[("change", "opened")], p.opened)?;
        put(&mut family, &[("change", "resolved")], p.resolved)?;
        gauge(out, "findings_unexamined", "Rules and names not yet held against the newest snapshot")?
            .encode_gauge(&p.unexamined)
    }

    fn process(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let p = &self.process;
        let mut family = gauge(out, "build_info", "Always 1; the version is the label")?;
        put_gauge(&mut family, &[("version", p.version)], 1)?;
        let gauges = [
            ("shards", "Shards started", self.shards.len() as u64),
            ("shards_up", "Shards that forward now", p.shards_up),
            (
                "snapshot_generation",
                "Number of the newest snapshot of configuration and routing",
                p.generation,
            ),
            ("snapshots_alive", "Snapshots that some shard may still read", p.snapshots_alive),
        ];
        for (name, help, value) in gauges {
            gauge(out, name, help)?.encode_gauge(&value)?;
        }
        let counters = [
            ("publications", "Snapshots published", p.publications),
            ("reloads", "Reloads that took effect", p.reloads),
            ("reloads_failed", "Reloads that were refused and changed nothing", p.reloads_failed),
            ("log_lines_lost", "Log lines that could not be written", p.log_lines_lost),
        ];
        for (name, help, value) in counters {
            put_alone(counter(out, name, help)?, value)?;
        }
        let mut family = out.encode_descriptor(
            "snapshot_age",
            "Since when the newest snapshot is the newest",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        family.encode_gauge(&p.snapshot_age.as_secs_f64())?;
        let mut family = out.encode_descriptor(
            "resident_memory",
            "Resident memory of the process",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        family.encode_gauge(&p.resident_bytes)
    }

    fn sum(&self, read: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.shards.iter().map(|s| read(s)).sum()
    }

    fn labelled(&self) -> impl Iterator<Item = ([(&'static str, String); 1], &ShardMetrics)> {
        self.shards.iter().enumerate().map(|(i, s)| ([("shard", i.to_string())], &**s))
    }

    fn per_shard(
        &self,
        out: &mut DescriptorEncoder,
        counts: bool,
        name: &str,
        help: &str,
        read: fn(&ShardMetrics) -> &Counter,
    ) -> fmt::Result {
        let mut family = if counts { counter(out, name, help)? } else { gauge(out, name, help)? };
        for (label, shard) in self.labelled() {
            let value = read(shard).get();
            if counts { put(&mut family, &label, value)? } else { put_gauge(&mut family, &label, value)? }
        }
        Ok(())
    }
}

fn counter<'s>(
    out: &'s mut DescriptorEncoder,
    name: &'s str,
    help: &'s str,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    out.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauge<'s>(
    out: &'s mut DescriptorEncoder,
    name: &'s str,
    help: &'s str,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    out.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn put(family: &mut MetricEncoder, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

fn put_alone(mut metric: MetricEncoder, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

/// A series that never counted is left out where the table is large and mostly empty.
fn put_nonzero(family: &mut MetricEncoder, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    if value == 0 { Ok(()) } else { put(family, labels, value) }
}

fn put_gauge(family: &mut MetricEncoder, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    family.encode_family(labels)?.encode_gauge(&value)
}

fn put_seconds(
    family: &mut MetricEncoder,
    labels: &impl EncodeLabelSet,
    ns: u64,
    counts: bool,
) -> fmt::Result {
    let seconds = Duration::from_nanos(ns).as_secs_f64();
    let mut metric = family.encode_family(labels)?;
    if counts {
        metric.encode_counter::<NoLabelSet, f64, f64>(&seconds, None)
    } else {
        metric.encode_gauge(&seconds)
    }
}

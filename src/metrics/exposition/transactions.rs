//! What transactions count, as text.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Counter, Readings, ShardMetrics, counter, gauge, put, put_alone, put_gauge};
use crate::transaction::{Cause, Full, Kind, Timer, What};

impl Readings {
    pub(super) fn transactions(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family = gauge(out, "transactions", "Transactions that are open, by side and method")?;
        for kind in Kind::ALL {
            let (side, method) = kind.labels();
            let open = self.sum(|s| s.transactions.open[kind as usize].get());
            put_gauge(&mut family, &[("side", side), ("method", method)], open)?;
        }
        let blocks = self.sum(|s| s.transactions.blocks.get());
        gauge(out, "transaction_blocks", "Blocks of 512 bytes that hold messages to be sent again")?
            .encode_gauge(&blocks)?;
        self.by_label(out, "transactions_ended", "Transactions that have ended", "cause", |s| {
            Cause::ALL.map(|cause| (cause.label(), &s.transactions.ended[cause as usize]))
        })?;
        self.by_label(
            out,
            "transaction_messages",
            "Messages that transactions sent by themselves",
            "what",
            |s| What::ALL.map(|what| (what.label(), &s.transactions.sent[what as usize])),
        )?;
        self.by_label(out, "transaction_timers", "Timers that have fired", "timer", |s| {
            Timer::ALL.map(|timer| (timer.label(), &s.transactions.timers[timer as usize]))
        })?;
        self.by_label(out, "transactions_refused", "What there was no room for", "lack", |s| {
            Full::ALL.map(|full| (full.label(), &s.transactions.refused[full as usize]))
        })?;
        put_alone(
            counter(out, "requests_absorbed", "Requests that came again and were not sent on again")?,
            self.sum(|s| s.transactions.absorbed.get()),
        )?;
        put_alone(
            counter(out, "requests_unreached", "Requests sent on that ICMP said did not arrive")?,
            self.sum(|s| s.transactions.unreached.get()),
        )?;
        put_alone(
            counter(
                out,
                "messages_handed_over",
                "Messages handed over to the shard that owns their transaction",
            )?,
            self.sum(|s| s.handed_over.get()),
        )?;
        put_alone(
            counter(
                out,
                "transactions_not_told",
                "Failed sends and ended connections that another shard's transaction was not told of for want of room",
            )?,
            self.sum(|s| s.not_told.get()),
        )?;
        let waiting = self.sum(|s| s.tried_again.get());
        gauge(out, "messages_tried_again", "Messages of connections that found no room and are tried again")?
            .encode_gauge(&waiting)
    }

    /// A family of counters that differ by one label.
    pub(super) fn by_label<const N: usize>(
        &self,
        out: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        label: &'static str,
        read: fn(&ShardMetrics) -> [(&'static str, &Counter); N],
    ) -> fmt::Result {
        let mut sums = [("", 0); N];
        for shard in &self.shards {
            for (sum, (value, counter)) in sums.iter_mut().zip(read(shard)) {
                *sum = (value, sum.1 + counter.get());
            }
        }
        let mut family = counter(out, name, help)?;
        sums.iter().try_for_each(|(value, sum)| put(&mut family, &[(label, *value)], *sum))
    }
}

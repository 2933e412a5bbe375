//! Connections: how they ended, and why TLS and WebSocket failed.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Readings, counter, gauge, put, put_gauge};
use crate::metrics::{Counter, StreamEnd, StreamMetrics};
use crate::{tls, websocket};

impl Readings {
    pub(super) fn connections(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        for (counts, name, help, read) in StreamMetrics::ROWS {
            self.per_shard(out, counts, name, help, read)?;
        }
        let mut family =
            gauge(out, "listener_connections", "Connections of a listener that are open or being opened")?;
        for l in &self.listeners {
            let connections = self.sum(|shard| shard.traffic.connections(l.series));
            put_gauge(&mut family, &[("listener", &*l.name)], connections)?;
        }
        let ended = ("connections_ended", "Connections that have ended, by how they did");
        let failed = ("connections_failed", "Connections that have never been open, by why");
        for (was_open, (name, help), label) in [(true, ended, "how"), (false, failed, "why")] {
            let mut family = counter(out, name, help)?;
            for how in StreamEnd::ALL.into_iter().filter(|how| how.was_open() == was_open) {
                let count = self.sum(|shard| shard.streams.ended[how as usize].get());
                put(&mut family, &[(label, how.label())], count)?;
            }
        }
        let mut family = counter(out, "tls_handshakes", "Handshakes of TLS that came to an end")?;
        for (ours, side) in ["accepted", "opened"].into_iter().enumerate() {
            for (resumed, is_resumed) in ["no", "yes"].into_iter().enumerate() {
                let count = self.sum(|shard| shard.streams.handshakes[ours][resumed].get());
                put(&mut family, &[("side", side), ("resumed", is_resumed)], count)?;
            }
        }
        self.causes(
            out,
            ("tls_failures", "Connections over TLS that failed, by cause"),
            &tls::Failure::LABELS,
            |streams| &streams.tls_failed,
        )?;
        self.causes(
            out,
            ("websocket_failures", "Connections over WebSocket that failed, by cause"),
            &websocket::Failure::LABELS,
            |streams| &streams.websocket_failed,
        )
    }

    fn causes(
        &self,
        out: &mut DescriptorEncoder,
        (name, help): (&str, &str),
        labels: &[&'static str],
        counters: fn(&StreamMetrics) -> &[Counter],
    ) -> fmt::Result {
        let mut family = counter(out, name, help)?;
        for (index, &cause) in labels.iter().enumerate() {
            let failed = self.sum(|shard| counters(&shard.streams).get(index).map_or(0, Counter::get));
            put(&mut family, &[("cause", cause)], failed)?;
        }
        Ok(())
    }
}

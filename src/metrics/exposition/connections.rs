//! Connections: how they ended, and why TLS and WebSocket failed.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Readings, counter, put};
use crate::metrics::{Counter, StreamEnd, StreamMetrics};
use crate::{tls, websocket};

impl Readings {
    pub(super) fn connections(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        for (counts, name, help, read) in StreamMetrics::ROWS {
            self.per_shard(out, counts, name, help, read)?;
        }
        let mut family = counter(out, "connections_ended", "Connections that have ended, by how they did")?;
        for how in StreamEnd::ALL {
            let ended = self.sum(|shard| shard.streams.ended[how as usize].get());
            put(&mut family, &[("how", how.label())], ended)?;
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

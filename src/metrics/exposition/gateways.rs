//! How gateways do, as text.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Readings, counter, gauge, put, put_alone, put_gauge};
use crate::group::{Fault, Life, Over, WatchCounts};
use crate::net::GatewayId;

/// One gateway of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReading {
    /// Its number, by which shards count.
    pub id: GatewayId,
    /// Its group.
    pub group: Box<str>,
    /// Where it is.
    pub uri: Box<str>,
    /// How it does from each listener that requests leave from.
    pub ways: Vec<WayReading>,
    /// What became of OPTIONS to it.
    pub pings: PingCounts,
    /// What has happened to it.
    pub watched: WatchCounts,
}

/// A gateway, seen from one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayReading {
    /// The listener.
    pub listener: Box<str>,
    /// How it does.
    pub life: Life,
    /// How much of its weight it gets, of 255.
    pub share: u8,
    /// Why the last OPTIONS failed, if they did.
    pub fault: Option<Fault>,
}

/// What became of OPTIONS to a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PingCounts {
    /// Answered by a status that counts as alive.
    pub alive: u64,
    /// Of no avail, by [`Fault::index`].
    pub failed: [u64; Fault::CAUSES.len()],
    /// Not sent, because no request would be either, or for want of room.
    pub unsent: u64,
}

impl PingCounts {
    /// One is over.
    pub fn ended(&mut self, over: Over) {
        match over {
            Over::Lives => self.alive += 1,
            Over::Fails(fault) => self.failed[fault.index()] += 1,
            Over::Unsent => self.unsent += 1,
        }
    }
}

impl Readings {
    pub(super) fn gateways(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family = gauge(
            out,
            "gateway_state",
            "1 for the state that a gateway is in, by listener that it is reached from",
        )?;
        for gateway in &self.gateways {
            for way in &gateway.ways {
                for life in Life::ALL {
                    let labels = [
                        ("group", &*gateway.group),
                        ("gateway", &*gateway.uri),
                        ("listener", &*way.listener),
                        ("state", life.label()),
                    ];
                    put_gauge(&mut family, &labels, u64::from(way.life == life))?;
                }
            }
        }
        self.gateway_shares(out)?;
        let mut family =
            counter(out, "gateway_selections", "Requests, and further attempts, sent to a gateway")?;
        for gateway in &self.gateways {
            let selected = self.sum(|s| s.selected(gateway.id).map_or(0, super::Counter::get));
            put(&mut family, &[("group", &*gateway.group), ("gateway", &*gateway.uri)], selected)?;
        }
        self.by_gateway(out, "gateway_changes", "Times a gateway changed its state", "to", |g| {
            vec![("down", g.watched.down), ("aside", g.watched.aside), ("back", g.watched.back)]
        })?;
        self.by_gateway(
            out,
            "gateway_pings",
            "OPTIONS to a gateway, each once, by what became of them",
            "result",
            |g| {
                let PingCounts { alive, failed, unsent } = g.pings;
                let failed = failed.iter().sum();
                vec![("alive", alive), ("failed", failed), ("unsent", unsent)]
            },
        )?;
        self.by_gateway(
            out,
            "gateway_ping_failures",
            "OPTIONS to a gateway that failed, by why",
            "cause",
            |g| Fault::CAUSES.into_iter().zip(g.pings.failed).collect(),
        )?;
        let family = counter(out, "group_last_resorts", "Requests to a group of which no gateway was up")?;
        put_alone(family, self.sum(|s| s.last_resorts.get()))
    }

    fn gateway_shares(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family = gauge(out, "gateway_share", "How much of its weight a gateway gets now, 0 to 1")?;
        for gateway in &self.gateways {
            for way in &gateway.ways {
                let labels =
                    [("group", &*gateway.group), ("gateway", &*gateway.uri), ("listener", &*way.listener)];
                family.encode_family(&labels)?.encode_gauge(&(f64::from(way.share) / f64::from(u8::MAX)))?;
            }
        }
        Ok(())
    }

    /// A family of counters by gateway and one further label.
    fn by_gateway(
        &self,
        out: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        label: &'static str,
        read: fn(&GatewayReading) -> Vec<(&'static str, u64)>,
    ) -> fmt::Result {
        let mut family = counter(out, name, help)?;
        for gateway in &self.gateways {
            for (value, count) in read(gateway) {
                let labels = [("group", &*gateway.group), ("gateway", &*gateway.uri), (label, value)];
                put(&mut family, &labels, count)?;
            }
        }
        Ok(())
    }
}

//! What a running Viaduct tells on `/metrics`.

use super::{Told, Untold};

/// The metrics that bear on tuning.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Datagrams that the kernel dropped at the sockets.
    pub receive_drops: u64,
    /// Batches of 5 ms and more.
    pub long_batches: u64,
    /// All batches.
    pub batches: u64,
    /// Times when more routing events came than the socket holds.
    pub routing_overruns: u64,
    /// For each shard the seconds that it worked.
    pub busy_seconds: Vec<f64>,
}

impl Running {
    /// Prometheus text; an answer without `viaduct_build_info` is somebody else's.
    pub fn parse(text: &str) -> Told<Self> {
        if !text.contains("viaduct_build_info") {
            return Err(Untold::new("the admin address is not answered by Viaduct"));
        }
        let samples = |name: &str| {
            let of_name = text.lines().filter_map(|line| line.strip_prefix(name));
            let values = of_name.filter(|rest| rest.starts_with([' ', '{'])).filter_map(value);
            values.collect::<Vec<f64>>()
        };
        // Counters are whole numbers.
        let sum = |name: &str| samples(name).iter().sum::<f64>() as u64;
        Ok(Self {
            receive_drops: sum("viaduct_kernel_receive_drops_total"),
            long_batches: sum("viaduct_long_batches_total"),
            batches: sum("viaduct_batches_total"),
            routing_overruns: sum("viaduct_routing_overruns_total"),
            busy_seconds: samples("viaduct_busy_seconds_total"),
        })
    }
}

/// The value that ends a line; a label's value may hold spaces, too.
fn value(rest: &str) -> Option<f64> {
    rest.rsplit(' ').next()?.parse().ok()
}

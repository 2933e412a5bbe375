//! Reads Prometheus text.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::world::World;

/// A page of Viaduct's admin address with its head, if it is there and all is well; `None` while nobody answers, too.
pub fn page(world: &World, path: &str) -> Option<String> {
    let body = world.inside(|| {
        let address = "127.0.0.1:9060".parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: viaduct\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    body.ok().filter(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// One reading of `/metrics`.
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Scrapes Viaduct's endpoint; `None` while nobody answers there.
    pub fn scrape(world: &World) -> Option<Self> {
        page(world, "/metrics").map(|text| Self { text })
    }

    /// The sum of the samples of this name that have all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.samples(name, labels).sum::<f64>() as u64
    }

    /// The counters of anything that happened, a line each.
    pub fn counters(&self) -> String {
        let is_counted =
            |line: &&str| line.contains("_total") && !line.starts_with('#') && !line.ends_with(" 0");
        self.text.lines().filter(is_counted).collect::<Vec<_>>().join("\n")
    }

    /// The smallest of the samples.
    pub fn least(&self, name: &str) -> Option<u64> {
        self.samples(name, &[]).map(|v| v as u64).min()
    }

    fn samples(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with(['{', ' ']) {
                return None;
            }
            let wanted = labels.iter().all(|(label, value)| {
                let pair = format!("{label}=\"{value}\"");
                rest.contains(&format!("{{{pair}")) || rest.contains(&format!(",{pair}"))
            });
            if !wanted {
                return None;
            }
            line.rsplit(' ').next()?.parse().ok()
        })
    }

    /// The largest of the samples.
    pub fn greatest(&self, name: &str) -> Option<f64> {
        self.samples(name, &[]).max_by(f64::total_cmp)
    }

    /// Messages in one direction, over all listeners and classes.
    pub fn messages(&self, direction: &str) -> u64 {
        self.sum("viaduct_messages_total", &[("direction", direction)])
    }

    /// Messages that came in and neither went on, nor were answered, nor were dropped for a reason.
    pub fn unaccounted(&self) -> i128 {
        i128::from(self.messages("in"))
            - i128::from(self.messages("out"))
            - i128::from(self.sum("viaduct_answers_total", &[]))
            - i128::from(self.sum("viaduct_dropped_total", &[]))
    }

    /// Messages dropped for this reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.sum("viaduct_dropped_total", &[("reason", reason)])
    }
}

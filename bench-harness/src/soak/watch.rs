//! What is read of the running process each second, and the kernel's counts of datagrams.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// The numbers of `/metrics`, by series.
#[derive(Clone, Debug, Default)]
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    /// Asks the process in this network namespace.
    pub fn read() -> io::Result<Self> {
        let mut stream = TcpStream::connect("127.0.0.1:9060")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: viaduct\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        if !text.starts_with("HTTP/1.1 200 ") {
            let said = text.lines().next().unwrap_or_default();
            return Err(io::Error::other(format!("the admin address says {said:?}")));
        }
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// The sum of all series of the name that hold the label.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of_name = |series: &str| {
            series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.0.iter().filter(|(series, _)| of_name(series) && series.contains(label)).map(|(_, v)| v).sum()
    }

    /// The same of a counter.
    pub fn count(&self, name: &str, label: &str) -> u64 {
        self.sum(name, label) as u64
    }

    /// All series of the name: what stands between the quotation marks of its only label, and its value.
    pub fn by_label(&self, name: &str) -> Vec<(String, u64)> {
        let of_name = |series: &str| Some(series.strip_prefix(name)?.split('"').nth(1)?.to_owned());
        let mut found: Vec<_> =
            self.0.iter().filter_map(|(series, v)| Some((of_name(series)?, *v as u64))).collect();
        found.sort_unstable();
        found
    }
}

/// Open files of a process, and how many of them are sockets.
pub fn open_files(process: u32) -> io::Result<(u64, u64)> {
    let (mut files, mut sockets) = (0, 0);
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        files += 1;
        // One that is closed meanwhile is none.
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        sockets += u64::from(target.to_string_lossy().starts_with("socket:"));
    }
    Ok((files, sockets))
}

/// What the kernel did with datagrams in a network namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel {
    /// Dropped at a socket, nearly always because its buffer was full.
    pub refused: u64,
    /// Dropped by a socket's filter.
    pub filtered: u64,
    /// For a port that nobody had.
    pub no_port: u64,
}

impl Kernel {
    /// Of the calling thread's namespace.
    pub fn read() -> io::Result<Self> {
        Self::of(&fs::read_to_string("/proc/thread-self/net/snmp")?)
            .ok_or_else(|| io::Error::other("/proc/net/snmp is not in the form expected"))
    }

    fn of(snmp: &str) -> Option<Self> {
        let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:"));
        let names = lines.next()?.split_whitespace();
        let values: HashMap<&str, &str> = names.zip(lines.next()?.split_whitespace()).collect();
        let of = |name| values.get(name)?.parse().ok();
        // `InErrors` are all of them.
        let full: u64 = ["RcvbufErrors", "MemErrors", "InCsumErrors"].into_iter().filter_map(of).sum();
        let all = of("InErrors")?;
        Some(Self { refused: full.min(all), filtered: all.saturating_sub(full), no_port: of("NoPorts")? })
    }

    /// What has come since.
    pub fn since(self, before: Self) -> Self {
        Self {
            refused: self.refused - before.refused,
            filtered: self.filtered - before.filtered,
            no_port: self.no_port - before.no_port,
        }
    }

    /// All that did not come in.
    pub fn dropped(self) -> u64 {
        self.refused + self.filtered + self.no_port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_label() {
        let metrics = Metrics::of(
            "# HELP a A\na_total{listener=\"x\",direction=\"in\"} 2\na_total{listener=\"y\",direction=\"in\"} 3\n\
             a_total{listener=\"y\",direction=\"out\"} 10\na_total_more 7\nb 0.25\nc_total{reason=\"z\"} 4\n# EOF\n",
        );
        assert_eq!(metrics.count("a_total", "direction=\"in\""), 5);
        assert_eq!(metrics.count("a_total", ""), 15);
        assert_eq!(metrics.sum("b", ""), 0.25);
        assert_eq!(metrics.by_label("c_total"), [("z".to_owned(), 4)]);
    }

    #[test]
    fn the_kernels_counts_go_by_their_names() {
        let text = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors MemErrors\n\
                    Udp: 9 2 8 7 4 1\n";
        let kernel = Kernel::of(text).unwrap();
        assert_eq!((kernel.no_port, kernel.refused, kernel.filtered, kernel.dropped()), (2, 5, 3, 10));
        assert!(Kernel::of("Tcp: a\nTcp: 1\n").is_none());
    }
}

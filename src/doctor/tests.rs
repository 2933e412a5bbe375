//! A host that is as tuning.md wants it, and for each check what makes it fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::config;
use crate::fib::spec::{Link, Route, Rule};
use crate::fib::{Builder, Fib};
use crate::plan::Plan;

const CONFIGURATION: &str = r#"
[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"
[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"
[[route]]
name = "switch"
to = "sip:10.0.0.100"
egress = "private"
"#;

const METRICS: &str = "viaduct_build_info{version=\"1\"} 1
viaduct_kernel_receive_drops_total{listener=\"a b\"} 0
viaduct_long_batches_total{shard=\"0\"} 1
viaduct_batches_total{shard=\"0\"} 1000000
viaduct_routing_overruns_total 0
viaduct_busy_seconds_total{shard=\"0\"} 90.5
viaduct_busy_seconds_total{shard=\"1\"} 70
";

/// A host's files, and what no file tells.
struct Host {
    files: BTreeMap<String, String>,
    links: Vec<(String, String)>,
    plan: Plan,
    fib: Fib,
    metrics: Told<String>,
    probe: Result<String, String>,
    ring: Ring,
    coalescing: Coalescing,
}

impl Host {
    fn good() -> Self {
        let fib = network().build();
        let mut plan = plan(CONFIGURATION, &fib);
        plan.engine.cores = vec![2, 3];
        let mut host = Self {
            files: BTreeMap::new(),
            links: Vec::new(),
            plan,
            fib,
            metrics: Ok(METRICS.into()),
            probe: Ok("6.6.1".into()),
            ring: Ring { receive: 512, receive_max: 4096 },
            coalescing: Coalescing { receive_us: 20, adaptive: false },
        };
        host.system();
        host.processes();
        host.sysctls();
        for (card, (name, slot)) in [("pub", "01"), ("priv", "02")].into_iter().enumerate() {
            host.card(name, &format!("0000:{slot}:00.0"), 40 + 2 * card);
        }
        host.file("proc/interrupts", INTERRUPTS);
        host
    }

    fn file(&mut self, path: &str, text: &str) {
        self.files.insert(path.into(), text.into());
    }

    /// A sysctl by its name.
    fn sysctl(&mut self, name: &str, value: &str) {
        self.file(&format!("proc/sys/{}", name.replace('.', "/")), value);
    }

    fn without(&mut self, path: &str) {
        assert!(self.files.remove(path).is_some(), "there was no {path}");
    }

    fn system(&mut self) {
        for core in 0..4 {
            let folder = format!("sys/devices/system/cpu/cpu{core}");
            self.file(&format!("{folder}/topology/thread_siblings_list"), &core.to_string());
            self.file(&format!("{folder}/node0/cpulist"), "0-3");
            self.file(&format!("{folder}/cpufreq/scaling_governor"), "performance");
            for (state, name, latency, disable) in
                [(0, "POLL", "0", "0"), (1, "C1", "2", "0"), (2, "C6", "133", "1")]
            {
                let state = format!("{folder}/cpuidle/state{state}");
                self.file(&format!("{state}/name"), name);
                self.file(&format!("{state}/latency"), latency);
                self.file(&format!("{state}/disable"), disable);
            }
        }
        for (path, text) in [
            ("proc/cmdline", "quiet isolcpus=2-3 nohz_full=2-3"),
            ("proc/swaps", "Filename Type Size Used Priority"),
            ("proc/net/softnet_stat", "000f4240 00000000 00000003\n000f4240 00000000 00000000"),
            (
                "proc/net/snmp",
                "Ip: ReasmReqds ReasmFails\nIp: 7 0\nUdp: InErrors RcvbufErrors MemErrors\nUdp: 4 0 0",
            ),
            ("proc/net/snmp6", "Ip6ReasmFails 0\nUdp6RcvbufErrors 0"),
            ("proc/net/netstat", "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 0 0"),
            ("proc/net/nf_conntrack", "ipv4 2 tcp 6 9 ESTABLISHED src=10.0.0.9 sport=5060 dport=22"),
            ("sys/devices/system/cpu/online", "0-3"),
            ("sys/devices/system/cpu/isolated", "2-3"),
            ("sys/devices/system/cpu/nohz_full", "2-3"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
            ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected"),
            ("sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: Retpolines"),
            ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
            ("sys/module/nf_conntrack/refcnt", "1"),
            ("etc/systemd/system/viaduct.service", UNIT),
        ] {
            self.file(path, text);
        }
    }

    fn processes(&mut self) {
        for (path, text) in [
            ("proc/1/comm", "systemd"),
            ("proc/77/comm", "viaduct"),
            ("proc/77/cmdline", "viaduct\0run\0-c\0x"),
            ("proc/77/cgroup", "0::/system.slice/viaduct.service"),
            ("proc/77/status", "Cpus_allowed_list:\t2-3\nCapEff:\t0000000000000000\nVmSwap:\t       0 kB"),
            ("proc/77/limits", LIMITS),
            ("sys/fs/cgroup/system.slice/viaduct.service/cpu.max", "max 100000"),
        ] {
            self.file(path, text);
        }
    }

    fn sysctls(&mut self) {
        for (name, value) in [
            ("kernel.osrelease", "6.6.1"),
            ("kernel.io_uring_disabled", "0"),
            ("kernel.io_uring_group", "-1"),
            ("net.core.busy_poll", "0"),
            ("net.core.busy_read", "0"),
            ("net.core.netdev_budget", "300"),
            ("net.core.netdev_max_backlog", "1000"),
            ("net.core.rmem_max", "8388608"),
            ("net.core.wmem_max", "8388608"),
            ("net.core.somaxconn", "4096"),
            ("net.core.rps_sock_flow_entries", "0"),
            ("net.ipv4.conf.all.src_valid_mark", "0"),
            ("net.ipv4.ip_forward", "0"),
            ("net.ipv4.ipfrag_high_thresh", "4194304"),
            ("net.ipv4.udp_l3mdev_accept", "0"),
            ("net.ipv4.udp_mem", "94140\t125522\t188280"),
            ("net.ipv6.conf.all.forwarding", "0"),
            ("net.ipv6.ip6frag_high_thresh", "4194304"),
            ("net.netfilter.nf_conntrack_count", "5"),
            ("net.netfilter.nf_conntrack_max", "262144"),
        ] {
            self.sysctl(name, value);
        }
        for link in ["all", "pub", "priv"] {
            for name in ["rp_filter", "arp_filter", "arp_ignore", "arp_announce"] {
                self.sysctl(&format!("net.ipv4.conf.{link}.{name}"), "0");
            }
        }
        self.sysctl("net.ipv4.conf.pub.rp_filter", "1");
        self.sysctl("net.ipv4.conf.priv.rp_filter", "2");
    }

    /// A network card with two queues, whose interrupts go to cores 2 and 3.
    fn card(&mut self, name: &str, slot: &str, first: usize) {
        let folder = format!("sys/class/net/{name}");
        let device = format!("sys/devices/pci/{slot}");
        self.links.push((format!("{folder}/device"), format!("../../../devices/pci/{slot}")));
        self.file(&format!("{device}/numa_node"), "0");
        for (file, text) in [
            ("mtu", "1500"),
            ("napi_defer_hard_irqs", "0"),
            ("gro_flush_timeout", "0"),
            ("statistics/rx_missed_errors", "0"),
            ("statistics/rx_fifo_errors", "0"),
            ("queues/tx-0/xps_cpus", "4"),
            ("queues/tx-1/xps_cpus", "8"),
        ] {
            self.file(&format!("{folder}/{file}"), text);
        }
        for queue in 0..2 {
            self.file(&format!("{folder}/queues/rx-{queue}/rps_cpus"), "0");
            self.file(&format!("{folder}/queues/rx-{queue}/rps_flow_cnt"), "0");
            self.file(&format!("{device}/msi_irqs/{}", first + queue), "msix");
            self.file(
                &format!("proc/irq/{}/effective_affinity_list", first + queue),
                &(2 + queue).to_string(),
            );
        }
    }

    /// Both cards, as the kernel names a file of theirs.
    fn cards(&mut self, file: &str, text: &str) {
        for name in ["pub", "priv"] {
            self.file(&format!("sys/class/net/{name}/{file}"), text);
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let folder = tempfile::tempdir().expect("a folder");
        self.lay(folder.path());
        self.look(folder.path())
    }

    /// Writes its files below a folder.
    fn lay(&self, folder: &Path) {
        let place = |path: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
            path
        };
        for (path, text) in &self.files {
            fs::write(place(path), text).expect("a file");
        }
        for (path, target) in &self.links {
            symlink(target, place(path)).expect("a link");
        }
    }

    /// Makes the files below a folder, which are another host's, its own.
    fn replace(&self, other: &Self, folder: &Path) {
        for path in other.files.keys().filter(|path| !self.files.contains_key(*path)) {
            fs::remove_file(folder.join(path)).expect("it was there");
            // A folder that is left without files is no fact.
            let above = Path::new(path).ancestors().skip(1);
            above.take_while(|above| fs::remove_dir(folder.join(above)).is_ok()).count();
        }
        for (path, text) in self.files.iter().filter(|(path, text)| other.files.get(*path) != Some(*text)) {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
    }

    /// Audits what lies there.
    fn look(&self, folder: &Path) -> Vec<Finding> {
        let card = |_: &str| Card { ring: Ok(self.ring), coalescing: Ok(self.coalescing) };
        let given = Given {
            plan: &self.plan,
            fib: Ok(&self.fib),
            probe: Ok(self.probe.clone()),
            metrics: self.metrics.clone(),
            card: &card,
        };
        examine(&gather(&Root::new(folder), given), |_| true)
    }

    fn metric(&mut self, from: &str, to: &str) {
        assert!(METRICS.contains(from));
        self.metrics = Ok(METRICS.replace(from, to));
    }
}

const INTERRUPTS: &str = "           CPU0       CPU1       CPU2       CPU3
  40:   0   0   9   0  PCI-MSIX-0000:01:00.0   0-edge      pub-rx-0
  41:   0   0   0   9  PCI-MSIX-0000:01:00.0   1-edge      pub-rx-1
  42:   0   0   9   0  PCI-MSIX-0000:02:00.0   0-edge      priv-rx-0
  43:   0   0   0   9  PCI-MSIX-0000:02:00.0   1-edge      priv-rx-1
  50:   5   0   0   0  IO-APIC   4-edge      ttyS0
 NMI:   0   0   0   0   Non-maskable interrupts";

const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 524288               files
Max locked memory         8388608              8388608              bytes";

const UNIT: &str = "[Unit]
CPUQuota=1%
[Service]
User=viaduct
CPUAffinity=0-3
LimitMEMLOCK=64M
LimitNOFILE=65536";

fn network() -> Builder {
    Builder::host()
        .link(Link::up(2, "pub"))
        .link(Link::up(3, "priv"))
        .assign(2, "203.0.113.10/24".parse().expect("a network"))
        .assign(3, "10.0.0.4/24".parse().expect("a network"))
        .route(route("0.0.0.0/0", 2, "203.0.113.1"))
}

fn route(to: &str, dev: u32, via: &str) -> Route {
    Route::new(to.parse().expect("a prefix"), dev, Some(via.parse().expect("an address")))
}

fn plan(text: &str, fib: &Fib) -> Plan {
    config::from_str("test", text, fib).unwrap_or_else(|findings| panic!("{findings}")).plan
}

/// A check, what it should say, and what makes it say so.
type Case = (&'static str, Status, fn(&mut Host));

/// Every check at least once.
const BAD: &[Case] = &[
    ("kernel-release", Status::Fail, |h| h.sysctl("kernel.osrelease", "5.15.0-generic")),
    ("io-uring", Status::Fail, |h| h.probe = Err("io_uring is switched off".into())),
    ("io-uring", Status::Warn, |h| h.sysctl("kernel.io_uring_disabled", "1")),
    ("locked-memory", Status::Fail, |h| h.file("proc/77/limits", &LIMITS.replace("8388608", "65536"))),
    ("open-files", Status::Fail, |h| h.file("proc/77/limits", &LIMITS.replace("524288", "100"))),
    ("open-files", Status::Warn, |h| h.file("proc/77/limits", &LIMITS.replace("524288", "65536"))),
    ("systemd-unit", Status::Warn, |h| h.file(SERVICE, &UNIT.replace("CPUAffinity=0-3", ""))),
    ("systemd-unit", Status::Warn, |h| h.file(SERVICE, &UNIT.replace("64M", "64K"))),
    ("systemd-unit", Status::Warn, |h| h.file(SERVICE, &UNIT.replace("65536", "64"))),
    ("systemd-unit", Status::Warn, |h| h.file(&format!("{SERVICE}.d/a.conf"), "[Service]\nCPUQuota=150%")),
    ("systemd-unit", Status::Warn, |h| h.plan.listeners[0].mark = Some(7)),
    ("systemd-unit", Status::Warn, |h| h.plan.listeners[0].bind.set_port(443)),
    ("receive-buffer", Status::Warn, |h| h.sysctl("net.core.rmem_max", "212992")),
    ("send-buffer", Status::Warn, |h| h.sysctl("net.core.wmem_max", "212992")),
    ("udp-receive-errors", Status::Warn, |h| h.file("proc/net/snmp6", "Udp6RcvbufErrors 3\nIp6ReasmFails 0")),
    ("udp-memory", Status::Warn, |h| h.file("proc/net/snmp6", "Udp6MemErrors 3\nIp6ReasmFails 0")),
    ("kernel-drops", Status::Fail, |h| h.metric("a b\"} 0", "a b\"} 9")),
    ("netlink-buffer", Status::Warn, |h| h.metric("overruns_total 0", "overruns_total 2")),
    ("netlink-buffer", Status::Warn, |h| {
        h.metrics = Err(Untold::new("it does not run"));
        h.sysctl("net.core.rmem_max", "212992");
    }),
    ("flow-spread", Status::Warn, |h| h.metric("shard=\"1\"} 70", "shard=\"1\"} 2")),
    ("accept-queue", Status::Warn, |h| h.sysctl("net.core.somaxconn", "128")),
    ("accept-overflows", Status::Warn, |h| {
        h.file("proc/net/netstat", "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 0 7")
    }),
    ("cores", Status::Fail, |h| h.plan.engine.cores = vec![1, 2]),
    ("cpu-quota", Status::Warn, |h| h.file("sys/fs/cgroup/system.slice/cpu.max", "150000 100000")),
    ("cpu-quota", Status::Warn, |h| h.file("sys/fs/cgroup/cpu.max", "50000 100000")),
    ("housekeeping", Status::Warn, |h| h.plan.engine.cores = vec![0, 1, 2, 3]),
    ("isolation", Status::Warn, |h| h.file("sys/devices/system/cpu/isolated", "3")),
    ("long-batches", Status::Warn, |h| h.metric("shard=\"0\"} 1\n", "shard=\"0\"} 11\n")),
    ("smt-siblings", Status::Warn, |h| {
        h.file("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2-3");
    }),
    ("numa", Status::Warn, |h| {
        h.without("sys/devices/system/cpu/cpu2/node0/cpulist");
        h.file("sys/devices/system/cpu/cpu2/node1/cpulist", "2");
    }),
    ("interrupts", Status::Warn, |h| h.file("proc/irq/41/effective_affinity_list", "2")),
    ("irqbalance", Status::Warn, |h| h.file("proc/9/comm", "irqbalance")),
    ("c-states", Status::Warn, |h| h.file("sys/devices/system/cpu/cpu3/cpuidle/state2/disable", "0")),
    ("governor", Status::Warn, |h| {
        h.file("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "schedutil")
    }),
    ("clock-source", Status::Warn, |h| {
        h.file("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet");
    }),
    ("mitigations", Status::Warn, |h| h.file("proc/cmdline", "mitigations=off")),
    ("mitigations", Status::Warn, |h| {
        h.file("sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable; SMT")
    }),
    ("receive-queues", Status::Warn, |h| h.plan.engine.cores = vec![1, 2, 3]),
    ("rps", Status::Warn, |h| h.cards("queues/rx-0/rps_cpus", "c")),
    ("rfs", Status::Warn, |h| h.sysctl("net.core.rps_sock_flow_entries", "32768")),
    ("xps", Status::Warn, |h| h.cards("queues/tx-1/xps_cpus", "0")),
    ("rings", Status::Warn, |h| h.cards("statistics/rx_missed_errors", "12")),
    ("coalescing", Status::Warn, |h| h.coalescing.receive_us = 250),
    ("busy-poll", Status::Warn, |h| h.sysctl("net.core.busy_read", "1000")),
    ("napi-defer", Status::Warn, |h| h.cards("napi_defer_hard_irqs", "2")),
    ("napi-defer", Status::Warn, |h| h.cards("gro_flush_timeout", "20000000")),
    ("backlog", Status::Warn, |h| h.file("proc/net/softnet_stat", "0000ffff 00000001 00000000")),
    ("softirq-budget", Status::Warn, |h| h.file("proc/net/softnet_stat", "000003e8 00000000 00000002")),
    ("huge-pages", Status::Warn, |h| {
        h.file("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never")
    }),
    ("swap", Status::Warn, |h| h.file("proc/swaps", "Filename\n/dev/sda2 partition 1 0 -2")),
    ("swap", Status::Fail, |h| {
        h.file("proc/77/status", "Cpus_allowed_list:\t2-3\nCapEff:\t0\nVmSwap:\t 512 kB");
    }),
    ("conntrack", Status::Warn, |h| {
        h.file("proc/net/nf_conntrack", "ipv4 2 udp 17 29 src=192.0.2.1 sport=9 dport=5060 [UNREPLIED]");
    }),
    ("conntrack-table", Status::Warn, |h| h.sysctl("net.netfilter.nf_conntrack_count", "200000")),
    ("conntrack-table", Status::Fail, |h| h.sysctl("net.netfilter.nf_conntrack_count", "262144")),
    ("sip-helper", Status::Warn, |h| h.file("sys/module/nf_conntrack_sip/refcnt", "0")),
    ("rp-filter", Status::Warn, |h| h.sysctl("net.ipv4.conf.priv.rp_filter", "1")),
    ("rp-filter", Status::Warn, |h| {
        h.sysctl("net.ipv4.conf.priv.rp_filter", "0");
        h.sysctl("net.ipv4.conf.all.rp_filter", "1");
    }),
    ("rp-filter", Status::Fail, |h| {
        h.sysctl("net.ipv4.conf.priv.rp_filter", "1");
        h.fib = network().route(route("198.51.100.0/24", 2, "203.0.113.1")).build();
        h.plan = plan(&CONFIGURATION.replace("10.0.0.100", "198.51.100.9"), &h.fib);
    }),
    ("arp", Status::Warn, |h| {
        h.fib = network().assign(3, "203.0.113.11/24".parse().expect("a network")).build()
    }),
    ("vrf", Status::Fail, |h| h.fib = in_vrf()),
    ("vrf", Status::Warn, |h| {
        h.fib = in_vrf();
        h.sysctl("net.ipv4.udp_l3mdev_accept", "1");
    }),
    ("marks", Status::Warn, |h| h.plan.listeners[0].mark = Some(7)),
    ("ip-forward", Status::Warn, |h| h.sysctl("net.ipv4.ip_forward", "1")),
    ("ip-forward", Status::Warn, |h| h.sysctl("net.ipv6.conf.all.forwarding", "1")),
    ("mtu", Status::Warn, |h| h.cards("mtu", "1400")),
    ("fragments", Status::Warn, |h| h.sysctl("net.ipv6.ip6frag_high_thresh", "262144")),
    ("fragments", Status::Warn, |h| {
        h.file("proc/net/snmp", "Ip: ReasmFails\nIp: 4\nUdp: RcvbufErrors\nUdp: 0")
    }),
];

const SERVICE: &str = "etc/systemd/system/viaduct.service";

/// The private interface belongs to a VRF, its listener does not.
fn in_vrf() -> Fib {
    let mut private = Link::up(3, "priv");
    private.master = 9;
    let mut vrf = Link::up(9, "blue");
    vrf.vrf_table = Some(10);
    let host = Builder::host().link(Link::up(2, "pub")).link(private).link(vrf);
    host.assign(2, "203.0.113.10/24".parse().expect("a network"))
        .assign(3, "10.0.0.4/24".parse().expect("a network"))
        .build()
}

fn of<'a>(findings: &'a [Finding], code: &'a str) -> impl Iterator<Item = &'a Finding> {
    findings.iter().filter(move |finding| finding.code == code)
}

#[test]
fn a_good_host_passes_every_check() {
    let findings = Host::good().findings();
    let not_passed: Vec<_> = findings.iter().filter(|finding| finding.status != Status::Pass).collect();
    assert!(not_passed.is_empty(), "{not_passed:#?}");
    for check in checks() {
        assert!(of(&findings, check.code).next().is_some(), "{} found nothing", check.code);
    }
}

#[test]
fn every_check_finds_what_it_is_for() {
    let good = Host::good();
    let folder = tempfile::tempdir().expect("a folder");
    good.lay(folder.path());
    for (case, (code, status, spoil)) in BAD.iter().enumerate() {
        let mut host = Host::good();
        spoil(&mut host);
        host.replace(&good, folder.path());
        let findings = host.look(folder.path());
        good.replace(&host, folder.path());
        let worst = of(&findings, code).find(|finding| finding.status == *status);
        let worst = worst
            .unwrap_or_else(|| panic!("case {case}, {code}: {:#?}", of(&findings, code).collect::<Vec<_>>()));
        assert!(worst.remedy.is_some(), "case {case}: {code} has no remedy");
    }
    let tried: BTreeSet<&str> = BAD.iter().map(|(code, ..)| *code).collect();
    let all: BTreeSet<&str> = checks().map(|check| check.code).collect();
    assert_eq!(tried, all);
}

#[test]
fn codes_are_names_of_their_own() {
    let mut codes: Vec<&str> = checks().map(|check| check.code).collect();
    assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')), "{codes:?}");
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), checks().count());
}

#[test]
fn whatever_a_file_says_or_lacks_is_told_and_nothing_panics() {
    let good = Host::good();
    let codes = |findings: &[Finding]| findings.iter().map(|f| f.code).collect::<BTreeSet<_>>();
    let all = codes(&good.findings());
    let folder = tempfile::tempdir().expect("a folder");
    good.lay(folder.path());
    for odd in ["", "-1", "99999999999999999999", "\u{0}\u{fffd}:[", "a: b\na: c d"] {
        let mut host = Host::good();
        host.files.values_mut().for_each(|text| *text = odd.into());
        host.metrics = Ok(odd.into());
        host.replace(&good, folder.path());
        assert_eq!(codes(&host.look(folder.path())), all, "all files say {odd:?}");
        good.replace(&host, folder.path());
    }
    for (path, text) in &good.files {
        let path = folder.path().join(path);
        fs::remove_file(&path).expect("it was there");
        assert_eq!(codes(&good.look(folder.path())), all, "without {}", path.display());
        fs::write(&path, "?").expect("a file");
        assert_eq!(codes(&good.look(folder.path())), all, "with an odd {}", path.display());
        fs::write(&path, text).expect("a file");
    }
}

#[test]
fn an_empty_folder_tells_nothing_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let unasked = || Untold::new("it is not asked");
    let fib = Builder::host().build();
    let plan = plan(CONFIGURATION, &fib);
    let card = |_: &str| Card { ring: Err(unasked()), coalescing: Err(unasked()) };
    let given = Given {
        plan: &plan,
        fib: Err(unasked()),
        probe: Err(unasked()),
        metrics: Err(unasked()),
        card: &card,
    };
    let findings = examine(&gather(&Root::new(folder.path()), given), |_| true);
    assert_eq!(findings.len(), checks().count());
    for finding in findings.iter().filter(|finding| finding.code != "marks") {
        assert_eq!(finding.status, Status::Skip, "{finding:#?}");
        assert!(finding.found.starts_with("cannot be told here: "), "{finding:#?}");
    }
}

#[test]
fn a_table_for_the_source_makes_the_strict_filter_harmless() {
    let mut host = Host::good();
    host.sysctl("net.ipv4.conf.priv.rp_filter", "1");
    let from_private = Rule::from_table(100, "10.0.0.4/32".parse().expect("a network"), 100);
    host.fib = network().rule(from_private).route(route("0.0.0.0/0", 3, "10.0.0.1").in_table(100)).build();
    let findings = host.findings();
    assert!(of(&findings, "rp-filter").all(|finding| finding.status == Status::Pass), "{findings:#?}");
}

#[test]
fn the_strict_filter_goes_by_the_rules_for_root_whoever_runs_viaduct() {
    for (users, viaduct, status) in
        [(0..=0, 1_500, Status::Pass), (1_000..=2_000, 1_500, Status::Warn), (1_000..=2_000, 0, Status::Warn)]
    {
        let mut host = Host::good();
        host.sysctl("net.ipv4.conf.priv.rp_filter", "1");
        let table = Rule::from_table(100, "10.0.0.4/32".parse().expect("a network"), 100);
        let policy = network()
            .rule(Rule { uids: Some(users), ..table })
            .route(route("0.0.0.0/0", 3, "10.0.0.1").in_table(100));
        host.fib = policy.build().for_user(viaduct);
        let findings = host.findings();
        assert!(of(&findings, "rp-filter").any(|finding| finding.status == status), "{findings:#?}");
        let other = if status == Status::Pass { Status::Warn } else { Status::Fail };
        assert!(of(&findings, "rp-filter").all(|finding| finding.status != other), "{findings:#?}");
    }
}

#[test]
fn arp_is_parted_by_either_pair_of_sysctls() {
    for set in [&[("arp_filter", "1")][..], &[("arp_ignore", "1"), ("arp_announce", "2")]] {
        let mut host = Host::good();
        host.fib = network().assign(3, "203.0.113.11/24".parse().expect("a network")).build();
        set.iter().for_each(|(name, value)| host.sysctl(&format!("net.ipv4.conf.all.{name}"), value));
        assert!(of(&host.findings(), "arp").all(|finding| finding.status == Status::Pass), "{set:?}");
    }
}

#[test]
fn the_process_that_counts_is_the_one_that_runs() {
    let mut host = Host::good();
    host.file("proc/78/comm", "viaduct");
    host.file("proc/78/cmdline", "viaduct\0doctor");
    let limits = |host: &Host| {
        let findings = host.findings();
        of(&findings, "open-files").map(|finding| finding.subject.clone()).collect::<String>()
    };
    assert_eq!(limits(&host), "viaduct (process 77)");
    // Of two nobody knows which is meant.
    host.file("proc/78/cmdline", "viaduct\0run");
    host.file("proc/self/limits", LIMITS);
    host.file("proc/self/status", "Cpus_allowed_list:\t0-3\nCapEff:\t0");
    assert_eq!(limits(&host), "this shell");
}

#[test]
fn an_interface_of_another_network_namespace_is_not_taken_for_the_listeners() {
    let mut host = Host::good();
    host.file("sys/class/net/pub/ifindex", "2");
    host.file("sys/class/net/priv/ifindex", "33");
    let seen = |host: &Host| {
        let findings = host.findings();
        of(&findings, "mtu").map(|finding| finding.subject.clone()).collect::<Vec<_>>()
    };
    assert_eq!(seen(&host), ["pub"]);
    host.file("sys/class/net/pub/ifindex", "22");
    let findings = host.findings();
    let found = of(&findings, "mtu").map(|finding| &*finding.found).collect::<String>();
    assert!(found.contains("/sys/class/net does not show priv, pub"), "{found}");
}

#[test]
fn swap_that_the_service_may_not_use_is_harmless() {
    let mut host = Host::good();
    host.file("proc/swaps", "Filename\n/dev/sda2 partition 1 0 -2");
    host.file(SERVICE, &format!("{UNIT}\nMemorySwapMax=0"));
    assert!(of(&host.findings(), "swap").all(|finding| finding.status == Status::Pass));
}

#[test]
fn a_unit_has_the_capabilities_that_the_listeners_need() {
    let status = |port: u16, mark: Option<u32>, units: &[&str]| {
        let mut host = Host::good();
        host.plan.listeners[0].bind.set_port(port);
        host.plan.listeners[0].mark = mark;
        host.file(SERVICE, &format!("{UNIT}\n{}", units.join("\n")));
        let findings = host.findings();
        of(&findings, "systemd-unit").map(|finding| finding.status).collect::<Vec<_>>()
    };
    let [bind, raw] = ["AmbientCapabilities=CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_RAW"];
    assert_eq!(status(5060, Some(7), &[raw]), [Status::Pass]);
    assert_eq!(status(443, None, &[bind]), [Status::Pass]);
    assert_eq!(status(443, None, &[raw]), [Status::Warn]);
    assert_eq!(status(443, Some(7), &[bind]), [Status::Warn]);
    assert_eq!(status(443, Some(7), &[bind, raw]), [Status::Pass], "lines add up");
    assert_eq!(status(443, None, &[bind, "AmbientCapabilities="]), [Status::Warn], "until an empty one");
    assert_eq!(status(443, Some(7), &["User=root"]), [Status::Pass]);
}

#[test]
fn where_processes_are_hidden_none_is_no_answer() {
    let mut host = Host::good();
    host.without("proc/1/comm");
    assert!(of(&host.findings(), "irqbalance").all(|finding| finding.status == Status::Skip));
}

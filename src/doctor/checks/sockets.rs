//! Buffers of the sockets, and what did not fit into them.

use super::{Check, one, size};
use crate::doctor::facts::{Capability, Facts, Told, Untold};
use crate::doctor::finding::{Status, Verdict};
use crate::limits;

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "receive-buffer",
        group: "Sockets",
        section: "socket-buffers",
        subject: "net.core.rmem_max",
        wanted: "[engine] socket_buffer or more",
        why: "a burst that comes while a shard is busy waits there, and what does not fit is lost",
        examine: receive_buffer,
    },
    Check {
        code: "send-buffer",
        group: "Sockets",
        section: "socket-buffers",
        subject: "net.core.wmem_max",
        wanted: "[engine] socket_buffer or more",
        why: "a send that does not fit is dropped as send_queue_full",
        examine: send_buffer,
    },
    Check {
        code: "udp-receive-errors",
        group: "Sockets",
        section: "socket-buffers",
        subject: "UDP of this host",
        wanted: "0 datagrams lost for want of a buffer",
        why: "the kernel dropped datagrams because some socket's buffer was full",
        examine: udp_receive_errors,
    },
    Check {
        code: "udp-memory",
        group: "Sockets",
        section: "socket-buffers",
        subject: "net.ipv4.udp_mem",
        wanted: "0 datagrams lost for want of it",
        why: "all UDP sockets of the host share it, and beyond it datagrams are dropped whatever their socket holds",
        examine: udp_memory,
    },
    Check {
        code: "kernel-drops",
        group: "Sockets",
        section: "socket-buffers",
        subject: "running Viaduct",
        wanted: "viaduct_kernel_receive_drops_total is 0",
        why: "these were Viaduct's own: messages that nobody has seen",
        examine: kernel_drops,
    },
    Check {
        code: "netlink-buffer",
        group: "Sockets",
        section: "netlink-buffer",
        subject: "routing events",
        wanted: "8 MiB, and viaduct_routing_overruns_total is 0",
        why: "after an overrun all tables are read anew, and routes are older meanwhile",
        examine: netlink_buffer,
    },
    Check {
        code: "flow-spread",
        group: "Sockets",
        section: "spreading-flows-over-cores",
        subject: "running Viaduct",
        wanted: "no shard does more than three quarters of the work",
        why: "a trunk is one flow and lands on one shard, whose core is then the ceiling",
        examine: flow_spread,
    },
    Check {
        code: "accept-queue",
        group: "Sockets",
        section: "accept-queue",
        subject: "net.core.somaxconn",
        wanted: "4096 or more",
        why: "connections that have come and are not accepted yet wait there, and more are not answered",
        examine: accept_queue,
    },
    Check {
        code: "accept-overflows",
        group: "Sockets",
        section: "accept-queue",
        subject: "TCP of this host",
        wanted: "0 connections turned away for want of room to wait",
        why: "the kernel dropped the beginnings of connections because some socket's queue was full",
        examine: accept_overflows,
    },
];

/// Below so much work in all, in seconds, a share says nothing.
const BUSY_SECONDS: f64 = 10.0;

fn receive_buffer(facts: &Facts) -> Told<Vec<Verdict>> {
    buffer(facts, "net.core.rmem_max")
}

fn send_buffer(facts: &Facts) -> Told<Vec<Verdict>> {
    buffer(facts, "net.core.wmem_max")
}

/// With CAP_NET_ADMIN Viaduct takes what it wants (`SO_RCVBUFFORCE`, socket(7)).
fn buffer(facts: &Facts, name: &str) -> Told<Vec<Verdict>> {
    let limit = facts.sysctls.number(name)?;
    let wanted = facts.wishes.socket_buffer_bytes;
    if limit < wanted && facts.process.id.is_some() && facts.process.may(Capability::NetAdmin) == Ok(true) {
        let found = format!("{}, which CAP_NET_ADMIN goes beyond", size(limit));
        return one(Verdict::pass(name, found));
    }
    let verdict = Verdict::hold(limit >= wanted, Status::Warn, name, size(limit));
    one(verdict.wanted(format!("{} or more", size(wanted))).remedy(format!("sysctl -w {name}={wanted}")))
}

fn udp_receive_errors(facts: &Facts) -> Told<Vec<Verdict>> {
    let lost = facts.counters.sum(&["Udp.RcvbufErrors", "Udp6RcvbufErrors"])?;
    let verdict =
        Verdict::hold(lost == 0, Status::Warn, "UDP of this host", format!("{lost} since it started"));
    one(verdict
        .remedy("nstat -az UdpRcvbufErrors Udp6RcvbufErrors; ss -uanm   # d in skmem names the socket"))
}

fn udp_memory(facts: &Facts) -> Told<Vec<Verdict>> {
    const NAME: &str = "net.ipv4.udp_mem";
    let lost = facts.counters.sum(&["Udp.MemErrors", "Udp6MemErrors"])?;
    let limits: Vec<u64> =
        facts.sysctls.text(NAME)?.split_whitespace().filter_map(|pages| pages.parse().ok()).collect();
    let [least, pressure, most] = limits[..] else {
        return Err(Untold::new(format!("{NAME} is not three numbers")));
    };
    let found = format!("{lost} lost since the start; {most} pages at most");
    let [least, pressure, most] = [least, pressure, most].map(|pages| pages.saturating_mul(2));
    let verdict = Verdict::hold(lost == 0, Status::Warn, NAME, found);
    one(verdict.remedy(format!("sysctl -w {NAME}='{least} {pressure} {most}'")))
}

fn kernel_drops(facts: &Facts) -> Told<Vec<Verdict>> {
    let lost = facts.running.as_ref().map_err(Clone::clone)?.receive_drops;
    let verdict = Verdict::hold(lost == 0, Status::Fail, "running Viaduct", format!("{lost} datagrams lost"));
    let bytes = facts.wishes.socket_buffer_bytes.saturating_mul(2);
    one(verdict
        .remedy(format!("sysctl -w net.core.rmem_max={bytes}   # and as much in [engine] socket_buffer")))
}

fn netlink_buffer(facts: &Facts) -> Told<Vec<Verdict>> {
    let wanted = limits::NETLINK_EVENT_BYTES as u64;
    let remedy = format!("sysctl -w net.core.rmem_max={wanted}");
    if let Ok(running) = &facts.running {
        let overruns = running.routing_overruns;
        let found = format!("{overruns} overruns");
        let verdict = Verdict::hold(overruns == 0, Status::Warn, "running Viaduct", found);
        return one(verdict.remedy(remedy));
    }
    let limit = facts.sysctls.number("net.core.rmem_max")?;
    one(Verdict::hold(limit >= wanted, Status::Warn, "net.core.rmem_max", size(limit)).remedy(remedy))
}

fn flow_spread(facts: &Facts) -> Told<Vec<Verdict>> {
    let busy = &facts.running.as_ref().map_err(Clone::clone)?.busy_seconds;
    let sum: f64 = busy.iter().sum();
    let most = busy.iter().copied().fold(0.0, f64::max);
    if busy.len() < 2 || sum < BUSY_SECONDS {
        let found = format!("{} shards worked {sum:.1} s in all, too little to tell", busy.len());
        return one(Verdict::pass("running Viaduct", found));
    }
    let found = format!("the busiest of {} shards does {:.0}% of the work", busy.len(), 100.0 * most / sum);
    let verdict = Verdict::hold(most <= 0.75 * sum, Status::Warn, "running Viaduct", found);
    one(verdict.remedy("ask the peer for several ports, one [[listener]] each; or fewer [engine] cores"))
}

fn accept_queue(facts: &Facts) -> Told<Vec<Verdict>> {
    const NAME: &str = "net.core.somaxconn";
    if facts.wishes.connections == 0 {
        return one(Verdict::pass(NAME, "no listener takes connections"));
    }
    let (limit, wanted) = (facts.sysctls.number(NAME)?, limits::STREAM_BACKLOG as u64);
    let verdict = Verdict::hold(limit >= wanted, Status::Warn, NAME, limit.to_string());
    one(verdict.remedy(format!("sysctl -w {NAME}={wanted}   # and restart Viaduct")))
}

fn accept_overflows(facts: &Facts) -> Told<Vec<Verdict>> {
    let lost = facts.counters.get("TcpExt.ListenOverflows")?;
    let found = format!("{lost} since it started");
    let verdict = Verdict::hold(lost == 0, Status::Warn, "TCP of this host", found);
    one(verdict.remedy(
        "nstat -az TcpExtListenOverflows TcpExtListenDrops; ss -ltn   # Recv-Q near Send-Q names the socket",
    ))
}

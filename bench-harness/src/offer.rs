//! `load`: offers calls to a forwarder that runs already, and counts what arrives.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::json;

use crate::load::{Generator, Sink};
use crate::progress;

/// Offers INVITEs at a rate to a forwarder that runs already, and counts what arrives
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sends distinct INVITEs of about 600 bytes for users at --callee, evenly over time and whatever comes
back (open loop), and receives them there as the callee would; nothing answers them. Ends by itself,
with exit code 1 if fewer arrive than --at-least says. IPv4 and IPv6.

Examples:
  bench-harness load --to 10.1.0.1:5060 --from 10.1.0.2:5060 --callee 10.2.0.2:5060 --rate 20000
  bench-harness load --to [2001:db8::1]:5060 --from [2001:db8::2]:5060 --callee [2001:db8:1::2]:5060")]
pub struct Args {
    /// The forwarder's address and port
    #[arg(long)]
    to: SocketAddr,
    /// Address and port of this host to send from
    #[arg(long)]
    from: SocketAddr,
    /// Address and port of this host to receive on: what the Request-URIs name
    #[arg(long)]
    callee: SocketAddr,
    /// Messages a second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// For how many seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Smallest part of the messages that has to arrive
    #[arg(long, default_value_t = 0.999)]
    at_least: f64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the load; `true`: enough arrived, and the generator kept to its schedule.
pub fn execute(args: &Args) -> io::Result<bool> {
    let socket = |address: SocketAddr| {
        UdpSocket::bind(address).map_err(|error| {
            let hint = "it has to be an address of this host, with a port that is free";
            io::Error::new(error.kind(), format!("{address}: {error}\n  hint: {hint}"))
        })
    };
    let sink = Sink::start(socket(args.callee)?, None)?;
    let mut generator = Generator::new(socket(args.from)?, args.callee)?;
    let bar = progress::spinner("sending");
    bar.set_message(format!("{}/s to {} for {} s", args.rate, args.to, args.seconds));
    let sent = generator.run(args.to, args.rate, Duration::from_secs(args.seconds))?;
    sink.settle();
    bar.finish_and_clear();

    let part = sink.messages() as f64 / sent.messages.max(1) as f64;
    let passed = part >= args.at_least && sent.on_schedule();
    if args.json {
        println!(
            "{}",
            json!({ "passed": passed, "scheduled": sent.scheduled, "sent": sent.messages,
                    "arrived": sink.messages(), "bytes_in": generator.message_len(), "bytes_out": sink.last_len() })
        );
        return Ok(passed);
    }
    println!(
        "sent:    {} of {} scheduled, {} bytes each",
        sent.messages,
        sent.scheduled,
        generator.message_len()
    );
    println!("arrived: {} ({:.2}%), {} bytes each", sink.messages(), part * 100.0, sink.last_len());
    if !sent.on_schedule() {
        println!("the generator was the limit, not the forwarder: lower --rate");
    }
    println!("{}", if passed { "PASS" } else { "FAIL" });
    Ok(passed)
}

//! `viaduct routes get`: ask the routing snapshot, and the kernel beside it.

use std::fmt;
use std::net::IpAddr;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::super::as_user::AsUser;
use super::super::{FAILED, USAGE, output};
use super::destination;
use crate::control::netlink::{self, Comparison, compare};
use crate::fib::{Answer, Fib, Query, Route, Step, table_in_words};
use crate::net::canonical;

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Says how a datagram to an address would leave this host, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --from the source is open, as for an unbound socket, and the answer names the one that would
be taken. With it, the answer is that for a socket bound to this source: what a listener's sends do.

Examples:
  viaduct routes get 10.0.0.100
  viaduct routes get 10.0.0.100 --from 10.0.0.4 --sport 5060 --mark 7
  viaduct routes get fe80::1 --oif eth0
  viaduct routes get 10.0.0.100 --user viaduct
  viaduct routes get 2001:db8::1 --compare --json | jq .agree

Exit codes:
  0  done      1  the snapshot and the kernel disagree, or the kernel cannot be asked
  2  wrong command line")]
pub struct Get {
    /// Destination address
    #[arg(value_name = "DST", value_parser = destination)]
    dst: IpAddr,
    /// Source address that the socket is bound to [default: open]
    #[arg(long, value_name = "SRC")]
    from: Option<IpAddr>,
    /// Mark of the socket (SO_MARK, `fwmark` of rules), decimal or 0x…
    #[arg(long, value_name = "N", value_parser = mark, default_value = "0")]
    mark: u32,
    /// Interface that the socket is bound to (SO_BINDTODEVICE)
    #[arg(long, value_name = "DEV")]
    oif: Option<String>,
    /// Transport, for rules with `ipproto`
    #[arg(long, value_enum, default_value_t = Protocol::Udp)]
    protocol: Protocol,
    /// Source port, for rules with `sport`
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    sport: u16,
    /// Destination port, for rules with `dport`
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    dport: u16,
    #[command(flatten)]
    user: AsUser,
    /// Ask the kernel too (RTM_GETROUTE), and fail if it says something else
    #[arg(long)]
    compare: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    Udp,
    Tcp,
}

fn mark(text: &str) -> Result<u32, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
}

/// Prints the answer; 0, or 1 if the kernel disagrees or cannot be asked.
pub fn execute(get: &Get) -> ExitCode {
    match answer(get) {
        Ok(report) => {
            let told = if get.json { format!("{:#}\n", report.json()) } else { report.to_string() };
            let done = match report.kernel {
                Some((_, Comparison::Known(_) | Comparison::Disagree)) => ExitCode::from(FAILED),
                _ => ExitCode::SUCCESS,
            };
            output::print(told, done)
        }
        Err(failure) => {
            output::tell(format_args!("{BAD}viaduct routes get:{BAD:#} {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    Netlink(netlink::Error),
    NoSuchDevice { name: String, known: Vec<String> },
    Families,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Netlink(_) => FAILED,
            Self::NoSuchDevice { .. } | Self::Families => USAGE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netlink(error) => write!(f, "{error}\n  hint: {}", error.remedy()),
            Self::NoSuchDevice { name, known } => {
                write!(f, "this host has no interface `{name}`\n  hint: it has {}", known.join(", "))
            }
            Self::Families => f.write_str(
                "destination and source are of different families\n  hint: both IPv4 or both IPv6",
            ),
        }
    }
}

fn answer(get: &Get) -> Result<Report, Failure> {
    let fib = get.user.of(netlink::dump(1).map_err(Failure::Netlink)?);
    let oif = match &get.oif {
        None => 0,
        Some(name) => fib.link_index(name).ok_or_else(|| Failure::NoSuchDevice {
            name: name.clone(),
            known: fib.links().map(|link| link.name.to_string()).collect(),
        })?,
    };
    let query = Query {
        src: get.from.map(canonical),
        mark: get.mark,
        oif,
        protocol: if get.protocol == Protocol::Udp { 17 } else { 6 },
        sport: get.sport,
        dport: get.dport,
        ..Query::to(canonical(get.dst))
    };
    if query.src.is_some_and(|src| src.is_ipv4() != query.dst.is_ipv4()) {
        return Err(Failure::Families);
    }
    let (answer, steps) = fib.lookup_traced(&query);
    let kernel = if get.compare {
        let kernels = netlink::ask(&query, fib.uid()).map_err(Failure::Netlink)?;
        Some((kernels, compare(&fib, &query, kernels)))
    } else {
        None
    };
    Ok(Report { fib, query, answer, steps, kernel })
}

/// The answer, ready to be shown.
struct Report {
    fib: Fib,
    query: Query,
    answer: Answer,
    steps: Vec<Step>,
    kernel: Option<(Answer, Comparison)>,
}

impl Report {
    fn dev(&self, route: &Route) -> &str {
        self.fib.link_name(route.dev).unwrap_or("?")
    }

    fn json(&self) -> Value {
        let mut value = self.answer_json(self.answer);
        if let Some((kernels, comparison)) = self.kernel {
            value["kernel"] = self.answer_json(kernels);
            value["agree"] = json!(comparison == Comparison::Agree);
            if let Comparison::Known(difference) = comparison {
                value["known_difference"] = json!(difference.in_words());
            }
        }
        value["steps"] = self.steps.iter().map(|step| json!(step.in_words().to_string())).collect();
        value
    }

    fn answer_json(&self, answer: Answer) -> Value {
        match answer {
            Answer::Route(route) => json!({
                "kind": route.kind.as_str(),
                "table": table_in_words(route.table).to_string(),
                "prefix": route.prefix.to_string(),
                "dev": self.dev(&route),
                "gateway": route.gateway.map(|gateway| gateway.to_string()),
                "source": route.source.to_string(),
            }),
            Answer::No(why) => nothing(why.as_str()),
            Answer::AskKernel => nothing("unknown"),
        }
    }

    /// What the packet does, in one line.
    fn line(&self, answer: Answer) -> String {
        match answer {
            Answer::Route(route) => {
                let gateway = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                let (dev, source, kind) = (self.dev(&route), route.source, route.kind.as_str());
                format!("by {BOLD}{dev}{BOLD:#}{gateway} from {BOLD}{source}{BOLD:#} ({kind})")
            }
            Answer::No(why) => format!("{BOLD}nowhere{BOLD:#}: {}", why.in_words()),
            Answer::AskKernel => {
                format!("{BOLD}unknown{BOLD:#}: the policy holds something that this version does not know")
            }
        }
    }
}

/// The keys of an answer without a route.
fn nothing(kind: &str) -> Value {
    json!({ "kind": kind, "table": null, "prefix": null, "dev": null, "gateway": null, "source": null })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.query.dst)?;
        match self.query.src {
            Some(src) => writeln!(f, " from {src} leaves {}", self.line(self.answer))?,
            None => writeln!(f, " leaves {}", self.line(self.answer))?,
        }
        for step in &self.steps {
            writeln!(f, "  {FAINT}{}{FAINT:#}", step.in_words())?;
        }
        let Some((kernels, comparison)) = self.kernel else { return Ok(()) };
        match comparison {
            Comparison::Agree => writeln!(f, "the kernel {GOOD}agrees{GOOD:#}: {}", self.line(kernels)),
            Comparison::Known(why) => {
                writeln!(f, "the kernel {BAD}says otherwise{BAD:#}: {}", self.line(kernels))?;
                writeln!(f, "  this is meant: {}", why.in_words())
            }
            Comparison::Disagree => {
                writeln!(f, "the kernel {BAD}disagrees{BAD:#}: {}", self.line(kernels))?;
                writeln!(
                    f,
                    "  hint: ask again, the tables may just have changed; if it stays so, please report it \
                     with the output of `ip rule` and `ip route show table all`"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::Builder;
    use crate::fib::spec::{Link, Route as Spec};

    fn report(kernel: Option<(Answer, Comparison)>) -> Report {
        let fib = Builder::host()
            .link(Link::up(2, "eth0"))
            .assign(2, "10.0.0.4/24".parse().unwrap())
            .route(Spec::new("0.0.0.0/0".parse().unwrap(), 2, Some("10.0.0.1".parse().unwrap())))
            .build();
        let query = Query::to("192.0.2.7".parse().unwrap());
        let (answer, steps) = fib.lookup_traced(&query);
        Report { fib, query, answer, steps, kernel }
    }

    #[test]
    fn json_has_the_keys_of_the_contract() {
        let plain = report(None).json();
        assert_eq!(
            (&plain["kind"], &plain["table"], &plain["prefix"], &plain["dev"]),
            (&json!("unicast"), &json!("main"), &json!("0.0.0.0/0"), &json!("eth0"))
        );
        assert_eq!((&plain["gateway"], &plain["source"]), (&json!("10.0.0.1"), &json!("10.0.0.4")));
        assert_eq!(plain.get("agree"), None);

        let differs = Answer::No(crate::fib::NoRoute::Prohibit);
        let compared = report(Some((differs, Comparison::Disagree))).json();
        assert_eq!((&compared["agree"], &compared["kernel"]["kind"]), (&json!(false), &json!("prohibit")));
        assert_eq!(compared["kernel"]["dev"], Value::Null);
    }

    #[test]
    fn the_text_says_why() {
        let text = anstream::adapter::strip_str(&report(None).to_string()).to_string();
        assert_eq!(
            text,
            "192.0.2.7 leaves by eth0 via 10.0.0.1 from 10.0.0.4 (unicast)\n  \
             rule 0: look into table local\n  table local: no route that fits\n  \
             rule 32766: look into table main\n  table main: unicast 0.0.0.0/0\n  \
             source 10.0.0.4: selected among the addresses of the host\n"
        );
    }

    #[test]
    fn marks_are_decimal_or_hexadecimal() {
        assert_eq!((mark("7"), mark("0x10")), (Ok(7), Ok(16)));
        assert!(mark("seven").is_err());
    }
}

//! What command lines may ask for: numbers within reason, addresses that fit each other.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::draw::{Random, internet};

/// The most routes of a family: several times the Internet's.
pub const ROUTES: usize = 10_000_000;

/// A parser of numbers within these, which none that is not finite is.
pub fn number(within: RangeInclusive<f64>) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| within.contains(number));
        number.ok_or_else(|| format!("not a number from {} to {}", within.start(), within.end()))
    }
}

/// A parser of counts within these.
pub fn count(within: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let count = text.parse().ok().filter(|count| within.contains(count));
        count.ok_or_else(|| format!("not a whole number from {} to {}", within.start(), within.end()))
    }
}

/// How large a table of routes is; without a word the Internet's.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Table {
    /// IPv4 routes
    #[arg(long, default_value_t = Table::FULL.v4, value_parser = count(0..=ROUTES))]
    pub v4: usize,
    /// IPv6 routes
    #[arg(long, default_value_t = Table::FULL.v6, value_parser = count(0..=ROUTES))]
    pub v6: usize,
}

impl Table {
    /// As large as they get.
    pub const FULL: Self = Self { v4: 1_000_000, v6: 200_000 };

    /// Says so where it would be empty.
    ///
    /// # Errors
    /// It would be.
    pub fn check(self) -> io::Result<()> {
        let Self { v4, v6 } = self;
        if v4 + v6 > 0 { Ok(()) } else { Err(io::Error::other("--v4 0 and --v6 0: there would be no route")) }
    }

    /// Its prefixes, as of [`internet`].
    pub fn nets(self, random: &mut Random) -> Vec<IpNet> {
        internet(self.v4, self.v6, random)
    }
}

/// Options with addresses that have to be of one family.
///
/// # Errors
/// One is of another than the first.
pub fn one_family(options: &[(&str, SocketAddr)]) -> io::Result<()> {
    let Some(((first, address), others)) = options.split_first() else { return Ok(()) };
    match others.iter().find(|(_, other)| other.is_ipv4() != address.is_ipv4()) {
        None => Ok(()),
        Some((name, other)) => Err(io::Error::other(format!(
            "{first} {address} and {name} {other}: one is of IPv4, the other of IPv6"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_finite_and_within_reason() {
        let parse = number(0.01..=1e6);
        assert_eq!((parse("0.01"), parse("1e6")), (Ok(0.01), Ok(1e6)));
        for text in ["nan", "inf", "-inf", "0", "-1", "1e30", "", "one"] {
            assert_eq!(parse(text), Err("not a number from 0.01 to 1000000".into()), "{text}");
        }
        assert!(count(1..=3)("3") == Ok(3) && count(1..=3)("0").is_err() && count(1..=3)("1e9").is_err());
    }

    #[test]
    fn addresses_are_of_one_family() {
        let (v4, v6) = (SocketAddr::from(([127, 0, 0, 1], 1)), "[::1]:1".parse().unwrap());
        one_family(&[("--to", v4), ("--from", v4)]).unwrap();
        let said = one_family(&[("--to", v4), ("--from", v4), ("--callee", v6)]).unwrap_err().to_string();
        assert_eq!(said, "--to 127.0.0.1:1 and --callee [::1]:1: one is of IPv4, the other of IPv6");
        Table { v4: 0, v6: 1 }.check().unwrap();
        Table { v4: 0, v6: 0 }.check().unwrap_err();
    }

    /// What a command line says that is refused.
    #[test]
    fn absurd_command_lines_are_refused() {
        use clap::Parser as _;
        for line in [
            "compare --knee nan",
            "compare --knee 1e30",
            "compare --load 0",
            "compare --paced 0",
            "compare --paced 1e9",
            "compare --calls nan",
            "compare --tcp-calls inf",
            "fib --v4 999999999999",
            "fib --v6 999999999999",
            "follow --seconds 0",
            "follow --changes 0",
            "overload --times 0",
            "load --to 127.0.0.1:1 --from 127.0.0.1:2 --callee 127.0.0.1:3 --at-least 7",
            "load --to 127.0.0.1:1 --from 127.0.0.1:2 --callee 127.0.0.1:3 --at-least nan",
            "sipp --calls 0",
            "sipp --rate 0",
            "soak --v4 999999999999",
            "rules --sizes 0",
            "own-work --pairs 0",
        ] {
            let refused = crate::Cli::try_parse_from(["bench-harness"].into_iter().chain(line.split(' ')));
            assert!(refused.is_err(), "{line}");
        }
    }
}

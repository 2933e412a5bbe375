//! `viaduct routes`: what the routing snapshot says, and what changes in it.

mod diff;
mod get;

use std::net::IpAddr;
use std::process::ExitCode;

use crate::net::canonical;

/// Asks the snapshot of the kernel's routing policy, or watches it change
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  viaduct routes get 10.0.0.100
  viaduct routes get 2001:db8::1 --from 2001:db8:1::4 --compare
  viaduct routes diff --dst 10.0.0.100 -c viaduct.toml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Get(get::Get),
    Diff(diff::Diff),
}

/// Does it; 0, or 1 if the kernel cannot be asked, or says otherwise where that was compared.
pub fn execute(args: Args) -> ExitCode {
    match args.command {
        Command::Get(get) => get::execute(&get),
        Command::Diff(diff) => diff::execute(&diff),
    }
}

/// An address that something can be sent to.
fn destination(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "not an IP address".to_owned())?;
    match canonical(address).is_unspecified() {
        true => Err(super::UNSPECIFIED.to_owned()),
        false => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_about_the_unspecified_address() {
        for text in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert_eq!(destination(text), Err(super::super::UNSPECIFIED.to_owned()), "{text}");
        }
        assert_eq!(destination("::1"), Ok("::1".parse().unwrap()));
        assert!(destination("10.0.0").is_err());
    }
}

//! Measures Viaduct against the floor that the kernel and the engine set.

mod all;
mod cases;
mod certificates;
mod compare;
mod connections;
mod died;
mod draw;
mod fib;
mod follow;
mod interrupt;
mod load;
mod measure;
mod messages;
mod micro;
mod mmsg;
mod null;
mod output;
mod overload;
mod own_work;
mod peak;
mod progress;
mod quota;
mod range;
mod results;
mod rules;
mod sipp;
mod soak;
mod subject;
mod timing;
mod waits;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::tell;

/// Measures Viaduct against the floor that the kernel sets
///
/// `compare`, `connections`, `overload`, `follow` and `soak` build their own network namespaces; they need two cores, and root or user
/// namespaces. Build with
/// `cargo build --release --workspace` first: debug builds measure nothing.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Null(null::Args),
    Load(load::command::Args),
    Certificates(certificates::Args),
    Compare(compare::Args),
    Connections(connections::Args),
    All(all::Args),
    Against(results::against::Args),
    Micro(micro::Args),
    #[command(hide = true)]
    MicroCase(micro::CaseArgs),
    Overload(overload::Args),
    Fib(fib::Args),
    Follow(follow::Args),
    Rules(rules::Args),
    OwnWork(own_work::Args),
    Sipp(sipp::Args),
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Null(args) => null::execute(&args),
        Command::Load(args) => load::command::execute(&args),
        Command::Certificates(args) => certificates::execute(&args),
        Command::Compare(args) => compare::execute(&args),
        Command::Connections(args) => connections::execute(&args),
        Command::All(args) => all::execute(&args),
        Command::Against(args) => results::against::execute(&args),
        Command::Micro(args) => micro::execute(&args),
        Command::MicroCase(args) => micro::execute_case(&args),
        Command::Overload(args) => overload::execute(&args),
        Command::Fib(args) => fib::execute(&args),
        Command::Follow(args) => follow::execute(&args),
        Command::Rules(args) => rules::execute(&args),
        Command::OwnWork(args) => own_work::execute(&args),
        Command::Sipp(args) => return sipp::execute(&args),
        Command::Soak(args) => soak::execute(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell!("bench-harness: {error}");
            died::leave_word(&error);
            ExitCode::FAILURE
        }
    }
}

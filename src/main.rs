//! The `viaduct` command.

fn main() -> std::process::ExitCode {
    viaduct::cli::main()
}

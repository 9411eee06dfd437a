//! The command line: parse, run, exit code.

mod cli;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use cli::args::{Cli, Command};
use cli::commands;
use tokio::runtime;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(commands::misused(&error)),
    };
    start_log(cli.global.quiet, cli.global.verbose);
    match runtime_for(&cli.command).enable_all().build() {
        Ok(runtime) => {
            let exit_code = runtime.block_on(commands::run(&cli));
            // A thread that waits for a pipe or a terminal must not keep the process alive.
            runtime.shutdown_background();
            ExitCode::from(exit_code)
        }
        Err(error) => {
            eprintln!("error: failed to start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Queries are drawn, sent and timed on all cores. A load reads and encodes on a separate thread; the rest is fastest on
/// a single one: passing each result between threads costs mode rows 8 % of its time.
fn runtime_for(command: &Command) -> runtime::Builder {
    match command {
        Command::Load(_) => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    }
}

/// Log to standard error; what the driver logs at debug level holds statements with their parameters.
fn start_log(quiet: bool, verbose: u8) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        // The pool warns of every lost connection, which the command reports anyway.
        (false, 0) => "warn,deadpool.postgres=error",
        (false, 1) => "postgres_etl=debug,info",
        (false, _) => "postgres_etl=trace,debug,tokio_postgres=info",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

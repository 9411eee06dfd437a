//! The command line: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use postgres_etl::cli::Cli;
use postgres_etl::command;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.global.quiet, cli.global.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let exit_code = runtime.block_on(command::run(&cli));
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

/// Log to standard error; what the driver logs at debug level holds statements with their parameters.
fn start_log(quiet: bool, verbose: u8) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "postgres_etl=debug,info",
        (false, _) => "postgres_etl=trace,debug,tokio_postgres=info",
    };
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level)).with_writer(std::io::stderr).init();
}

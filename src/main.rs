//! The command line: parse, run, exit code.

mod cli;

use std::process::ExitCode;

use cli::args::{self, Command};
use cli::commands;
use cli::terminal::{log, messages};
use tokio::runtime;

fn main() -> ExitCode {
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    messages::choose_color(args::color(arguments));
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(commands::misused(error)),
    };
    log::start(cli.global.verbose);
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

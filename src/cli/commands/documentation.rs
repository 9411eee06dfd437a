//! `completions` and `man`: what clap knows about the command line, in other forms.

use clap::CommandFactory;
use clap_complete::Shell;
use postgres_etl::{Error, Result};

use crate::cli::args::Cli;
use crate::cli::commands::print;

/// Print the completion script for `shell`.
///
/// # Errors
/// When standard output cannot be written to.
pub(super) fn completions(shell: Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "postgres-etl", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(0)
}

/// Print the manual page: the program, then every command.
///
/// # Errors
/// When standard output cannot be written to.
pub(super) fn man() -> Result<u8> {
    let mut page = Vec::new();
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let render = |command: &clap::Command, page: &mut Vec<u8>| {
        clap_mangen::Man::new(command.clone())
            .render(page)
            .map_err(|error| Error::output(format!("failed to write the manual page: {error}")))
    };
    render(&command, &mut page)?;
    for subcommand in command.get_subcommands() {
        render(subcommand, &mut page)?;
    }
    print(String::from_utf8_lossy(&page).trim_end())?;
    Ok(0)
}

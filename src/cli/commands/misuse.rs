//! Command lines that cannot be understood, and requests for help.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use postgres_etl::Error;
use postgres_etl::suggest::nearest;

use crate::cli::args;
use crate::cli::commands::{load, print, say};
use crate::cli::exit;
use crate::cli::render::{Failure, Report as _};

/// Flags of psql and pgbench that are not taken: the command, the flag, and what to do instead.
const HABITS: [(&str, &str, &str); 5] = [
    ("query", "-j", "it uses every core; leave -j out"),
    ("query", "-S", "name the workload select-only; query --init tpcb makes its tables"),
    ("query", "-P", "it shows its progress anyway"),
    ("", "-W", "passwords come from PGPASSWORD or ~/.pgpass"),
    ("", "-w", "it never asks for a password; leave -w out"),
];

/// Print what is wrong with the command line, or the requested help or version; returns the exit code.
pub(crate) fn misused(mut error: clap::Error) -> u8 {
    let given = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let given: Vec<String> = given.take_while(|argument| argument != "--").collect();
    let cli = args::command();
    let command = given.iter().find(|argument| cli.find_subcommand(argument).is_some()).map(String::as_str);
    if error.use_stderr() {
        suggest(&mut error, command, &cli);
        report(&error, command, &given);
    }
    // A closed standard error does not change the exit code.
    let _ = error.print();
    let is_psql = |pair: &[String]| pair[0] == "-h" && !pair[1].starts_with('-');
    if error.kind() == ErrorKind::DisplayHelp && given.windows(2).any(is_psql) {
        say("-h is short for --help here; name the server's host with --host");
    }
    u8::try_from(error.exit_code()).unwrap_or(exit::MISUSED)
}

/// Replace a suggestion that misleads, or add one that is missing.
fn suggest(error: &mut clap::Error, command: Option<&str>, cli: &clap::Command) {
    if let Some(wrong) = word(error, ContextKind::InvalidSubcommand).filter(|_| command.is_none())
        && error.get(ContextKind::SuggestedSubcommand).is_none()
    {
        let known = cli.get_subcommands().map(clap::Command::get_name);
        let near: Vec<String> = nearest(&wrong, known).into_iter().map(str::to_owned).collect();
        if !near.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(near));
        }
    }
    if let Some(flag) =
        word(error, ContextKind::InvalidArg).filter(|_| error.kind() == ErrorKind::UnknownArgument)
    {
        // "to pass '-T' as a value, use '-- -T'": nobody who mistypes a flag wants that.
        error.remove(ContextKind::Suggested);
        let habit = HABITS.iter().find(|(at, habit, _)| {
            flag == *habit && command.is_some_and(|command| at.is_empty() || command == *at)
        });
        if let Some((.., instead)) = habit {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![(*instead).into()]));
        }
    }
}

/// What `error` says of this `kind`, if that is one word.
fn word(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Report `error` where a program looks for it: in the receipt, and as JSON.
fn report(error: &clap::Error, command: Option<&str>, given: &[String]) {
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let help = command.map_or_else(
        || "postgres-etl --help lists the commands".to_owned(),
        |command| format!("postgres-etl {command} --help lists what it takes"),
    );
    let error = Error::usage(lines.join(" ").trim_start_matches("error: "))
        .with_help(tip.map_or(help, str::to_owned));
    if command == Some("load") {
        load::replace_named_receipt(given, &error);
    }
    if given.iter().any(|argument| argument == "--json") {
        // It is printed to standard error as well, by the caller.
        let _ = print(&Failure::new(command.unwrap_or("postgres-etl"), &error).json());
    }
}

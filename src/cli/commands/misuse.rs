//! Command lines that cannot be understood, and requests for help.

use std::path::Path;

use clap::ValueEnum as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use postgres_etl::Error;
use postgres_etl::suggest::nearest;

use crate::cli::args;
use crate::cli::commands::{load, print, say};
use crate::cli::exit;
use crate::cli::render::{Failure, Report as _};

/// Flags of psql, pgbench and others that are not taken: the command, the flags, and what to do instead.
const HABITS: [(&str, &[&str], &str); 20] = [
    ("query", &["-b", "--builtin"], "name the workload without a flag: tpcb, tpcb-simple or select-only"),
    ("query", &["-S", "--select-only"], "name the workload without a flag: select-only"),
    ("query", &["-N", "--skip-some-updates"], "name the workload without a flag: tpcb-simple"),
    ("query", &["-i", "--initialize"], "--init tpcb creates the tables of pgbench"),
    ("query", &["-s"], "--scale N, with --init tpcb; a run finds the scale in the tables"),
    ("query", &["-t", "--transactions"], "-n N is the number of transactions, of all connections together"),
    ("query", &["--time"], "-T TIME, or --duration TIME"),
    ("query", &["--client", "--clients"], "-c N, or --connections N"),
    ("query", &["-C", "--connect"], "the connections stay open for the whole run; leave it out"),
    ("query", &["-j", "--jobs"], "it uses every core; leave it out"),
    ("query", &["-P", "--progress"], "it shows its progress anyway; leave it out"),
    (
        "query",
        &["-r", "--report-per-command", "--report-latencies"],
        "the latencies of a transaction's statements are reported anyway; leave it out",
    ),
    ("query", &["-D", "--define"], "--arg gives a value, one for each of $1, $2 …"),
    ("query", &["-L", "--latency-limit"], "--find-max --p99 TIME finds the highest rate within a limit"),
    ("query", &["-l", "--log"], "--save FILE keeps the figures; --metrics-file FILE shows them meanwhile"),
    ("load", &["--sep", "--separator"], "--delimiter CHARACTER"),
    ("check", &["--sep", "--separator"], "--delimiter CHARACTER"),
    ("load", &["-f", "--file"], "name the files without a flag"),
    ("", &["-W", "--password"], "passwords come from PGPASSWORD or ~/.pgpass"),
    ("", &["-w", "--no-password"], "it never asks for a password; leave it out"),
];

/// Flags of query that are known by another meaning, as errors name them: what the command line begins with, and what
/// to do instead. Values of theirs are no numbers.
const OTHER_MEANINGS: [(&str, &str, &str); 2] = [
    ("--pipeline-depth <N>", "-d", "-d is the pipeline depth here; name the database with --dbname"),
    (
        "--queries <N>",
        "-n",
        "-n N is the number of queries here; nothing is vacuumed, so pgbench's -n is not needed",
    ),
];

/// Print what is wrong with the command line, or the requested help or version; returns the exit code.
pub(crate) fn misused(mut error: clap::Error) -> u8 {
    let given = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let given: Vec<String> = given.take_while(|argument| argument != "--").collect();
    let cli = args::command();
    let command = given.iter().find(|argument| cli.find_subcommand(argument).is_some()).map(String::as_str);
    let is_psql = |pair: &[String]| pair[0] == "-h" && !pair[1].starts_with('-');
    if error.kind() == ErrorKind::DisplayHelp && given.windows(2).any(is_psql) {
        return host_expected(command, &given);
    }
    if error.use_stderr() {
        suggest(&mut error, command, &given, &cli);
        let text = error.render().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
        let message = lines.join(" ");
        report(message.trim_start_matches("error: "), tip, command, &given);
    }
    // A closed standard error does not change the exit code.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(exit::MISUSED)
}

/// Refuse psql's `-h HOST`: nothing was done, and what a script does next may count on it.
fn host_expected(command: Option<&str>, given: &[String]) -> u8 {
    let takes_host = matches!(command, None | Some("load" | "query" | "check" | "bench"));
    let flag = if takes_host { "--host" } else { "--database-url" };
    let message = format!("-h is help here; name the server's host with {flag}");
    report(&message, None, command, given);
    say(&format!("error: {message}"));
    exit::MISUSED
}

/// Replace a suggestion that misleads, or add one that is missing.
fn suggest(error: &mut clap::Error, command: Option<&str>, given: &[String], cli: &clap::Command) {
    if let Some(wrong) = word(error, ContextKind::InvalidSubcommand).filter(|_| command.is_none())
        && error.get(ContextKind::SuggestedSubcommand).is_none()
    {
        let known = cli.get_subcommands().map(clap::Command::get_name);
        let near: Vec<String> = nearest(&wrong, known).into_iter().map(str::to_owned).collect();
        if !near.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(near));
        } else if Path::new(&wrong).is_file() {
            tip(error, &format!("to load the file: postgres-etl load {wrong} --table TABLE"));
        }
    }
    if error.kind() == ErrorKind::MissingRequiredArgument && command == Some("completions") {
        let shells = clap_complete::Shell::value_variants().iter().map(ToString::to_string);
        tip(error, &format!("name a shell: {}", shells.collect::<Vec<_>>().join(", ")));
        return;
    }
    let Some(flag) = word(error, ContextKind::InvalidArg) else { return };
    let instead = match error.kind() {
        ErrorKind::UnknownArgument => {
            // "to pass '-T' as a value, use '-- -T'": nobody who mistypes a flag wants that.
            error.remove(ContextKind::Suggested);
            let is_habit = |(at, flags, _): &&(&str, &[&str], &str)| {
                flags.contains(&&*flag) && command.is_some_and(|command| at.is_empty() || command == *at)
            };
            let habit = HABITS.iter().find(is_habit).map(|(.., instead)| (*instead).to_owned());
            habit.or_else(|| for_command(&flag, command, cli)).or_else(|| {
                let number =
                    flag.strip_prefix('-').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                number.map(|_| "numbers are not negative".to_owned())
            })
        }
        ErrorKind::InvalidValue if flag == "--header <WHEN>" => header_meant(error),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue if command == Some("query") => {
            let value = word(error, ContextKind::InvalidValue).unwrap_or_default();
            let is_meant = |(name, short, _): &&(&str, &str, &str)| {
                flag == *name && given.iter().any(|argument| argument.starts_with(short))
            };
            let is_number = value.starts_with(|c: char| c.is_ascii_digit());
            let meant = OTHER_MEANINGS.iter().find(is_meant).filter(|_| !is_number);
            meant.map(|(.., instead)| (*instead).to_owned())
        }
        _ => None,
    };
    if let Some(instead) = instead {
        error.remove(ContextKind::SuggestedArg);
        tip(error, &instead);
    }
}

/// What to write for a value of `--header` that other programs take.
fn header_meant(error: &clap::Error) -> Option<String> {
    match word(error, ContextKind::InvalidValue)?.to_lowercase().as_str() {
        "true" | "on" | "1" | "y" => Some("--header yes".to_owned()),
        "false" | "off" | "0" | "n" => Some("--header no".to_owned()),
        _ => None,
    }
}

/// What to write for a `flag` that was given without the command that takes it.
fn for_command(flag: &str, command: Option<&str>, cli: &clap::Command) -> Option<String> {
    let long = flag.strip_prefix("--").filter(|_| command.is_none())?;
    let takes = |command: &&clap::Command| {
        command.get_arguments().any(|argument| argument.get_long() == Some(long) && !argument.is_global_set())
    };
    let name = cli.get_subcommands().find(takes)?.get_name();
    Some(format!("the command comes first: postgres-etl {name} {flag}"))
}

/// Add the suggestion `text`.
fn tip(error: &mut clap::Error, text: &str) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![text.to_owned().into()]));
}

/// What `error` says of this `kind`, if that is one word.
fn word(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Report the error of this `message` where a program looks for it: in the receipt, and as JSON.
fn report(message: &str, tip: Option<&str>, command: Option<&str>, given: &[String]) {
    let help = command.map_or_else(
        || "postgres-etl --help lists the commands".to_owned(),
        |command| format!("postgres-etl {command} --help lists what it takes"),
    );
    let error = Error::usage(message).with_help(tip.map_or(help, str::to_owned));
    if command == Some("load") {
        load::replace_named_receipt(given, &error);
    }
    if given.iter().any(|argument| argument == "--json") {
        // It is printed to standard error as well, by the caller.
        let _ = print(&Failure::new(command.unwrap_or("postgres-etl"), &error).json());
    }
}

//! `completions` and `man`: what clap knows about the command line, in other forms.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::args;
use crate::cli::commands::{Context, print};
use crate::cli::exit;

/// The name of the program.
const NAME: &str = "postgres-etl";

/// Print the completion script for `shell`, or install it.
///
/// # Errors
/// When standard output, or the script's file, cannot be written to.
pub(super) fn completions(context: &Context<'_>, shell: Shell, install: bool) -> Result<u8> {
    let script = script(shell);
    if !install {
        print(script.trim_end())?;
        return Ok(exit::DONE);
    }
    let path = place(shell)?;
    let directory = path.parent().unwrap_or(&path);
    std::fs::create_dir_all(directory)
        .map_err(|error| Error::io(ErrorKind::Output, "create directory", directory, error))?;
    std::fs::write(&path, script).map_err(|error| Error::io(ErrorKind::Output, "write", &path, error))?;
    let path = path.display();
    match shell {
        Shell::Zsh => {
            let fpath = directory.display();
            context
                .note(&format!("installed {path}; it works in the next zsh if ~/.zshrc contains this line:"));
            context.note(&format!("  fpath+=({fpath}); autoload -Uz compinit; compinit"));
        }
        Shell::Bash if !bash_loads_completions() => {
            context.note(&format!(
                "installed {path} for bash-completion, which was not found in the files that bash reads when it starts;"
            ));
            context.note("without that, it works in the next bash if ~/.bashrc contains this line:");
            context.note(&format!("  source '{}'", path.to_string().replace('\'', r"'\''")));
        }
        _ => context.note(&format!("installed {path}; it works in the next {shell}")),
    }
    Ok(exit::DONE)
}

/// Whether a file that bash reads when it starts loads bash-completion, which loads scripts when they are needed.
fn bash_loads_completions() -> bool {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut files = vec![home.join(".bashrc"), home.join(".bash_profile"), "/etc/bash.bashrc".into()];
    if Path::new("/etc/bashrc").exists() {
        // It reads the other one, where there is any.
        files.extend(["/etc/bashrc".into(), "/etc/profile.d/bash_completion.sh".into()]);
    }
    files.iter().any(|file| {
        let text = std::fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let active = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        // The line may be there without the program that it looks for.
        active
            .flat_map(|line| line.split([' ', ';', '"', '\'', ']']))
            .any(|word| word.contains("bash_completion") && Path::new(word).is_file())
    })
}

/// The completion script for `shell`.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), NAME, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    // clap_complete takes the second part of the name for a subcommand in one of two places (clap issue 6421), after
    // which nothing is completed.
    if shell == Shell::Bash { script.replace("postgres__subcmd__etl", "postgres__etl") } else { script }
}

/// Where `shell` looks for the script in the user's directories.
fn place(shell: Shell) -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("HOME").ok_or_else(|| {
        Error::usage("there is no home directory to install the script in").with_help("set HOME")
    })?;
    let data = set("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
    match shell {
        Shell::Bash => Ok(data.join("bash-completion/completions").join(NAME)),
        Shell::Zsh => Ok(data.join("zsh/site-functions").join(format!("_{NAME}"))),
        Shell::Fish => {
            let config = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
            Ok(config.join("fish/completions").join(format!("{NAME}.fish")))
        }
        other => Err(Error::usage(format!("--install does not know where {other} looks"))
            .with_help("print the script, and save it where the shell reads it")),
    }
}

/// Print the manual page: the program, then every command; or write a page for each into `directory`.
///
/// # Errors
/// When standard output, or a file, cannot be written to.
pub(super) fn man(directory: Option<&Path>) -> Result<u8> {
    let pages = pages();
    let Some(directory) = directory else {
        // The commands of `server` are on the page of `server`.
        let is_printed = |(command, _): &&(clap::Command, String)| parts(command) <= 2;
        let text: Vec<&str> = pages.iter().filter(is_printed).map(|(_, page)| page.trim_end()).collect();
        print(&text.join("\n"))?;
        return Ok(exit::DONE);
    };
    std::fs::create_dir_all(directory)
        .map_err(|error| Error::io(ErrorKind::Output, "create directory", directory, error))?;
    for (command, page) in pages {
        let path = directory.join(Man::new(command).get_filename());
        std::fs::write(&path, page).map_err(|error| Error::io(ErrorKind::Output, "write", &path, error))?;
    }
    Ok(exit::DONE)
}

/// The number of words with which `command` is called.
fn parts(command: &clap::Command) -> usize {
    command.get_bin_name().map_or(1, |name| name.split(' ').count())
}

/// The program and every command, each with its manual page.
fn pages() -> Vec<(clap::Command, String)> {
    // Pages show what -h shows, which is not everything.
    let mut program = args::with_full_help().disable_help_subcommand(true);
    program.build();
    let (mut pages, mut left) = (Vec::new(), vec![program]);
    while let Some(command) = left.pop() {
        let commands: Vec<clap::Command> = command.get_subcommands().cloned().collect();
        left.extend(commands.into_iter().rev());
        let page = page(&command);
        pages.push((command, page));
    }
    pages
}

/// The manual page of `command`.
fn page(command: &clap::Command) -> String {
    let end = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut page = Vec::new();
    Man::new(command.clone().after_help(None)).render(&mut page).expect("memory can be written to");
    String::from_utf8_lossy(&page).into_owned() + &ending(&end)
}

/// What follows the options in `help`: examples as they stand, and the rest in paragraphs.
fn ending(help: &str) -> String {
    let mut roff = Roff::new();
    for (number, part) in help.split("\n\n").filter(|part| !part.is_empty()).enumerate() {
        if let Some(examples) = part.strip_prefix("Examples:\n") {
            roff.control("SH", ["EXAMPLES"]).control("nf", []);
            examples.lines().for_each(|line| {
                roff.text([roman(line)]);
            });
            roff.control("fi", []);
            continue;
        }
        if number == 1 {
            roff.control("SH", ["NOTES"]);
        }
        roff.control("PP", []);
        part.lines().for_each(|line| {
            roff.text([roman(line)]);
        });
    }
    roff.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_described_on_the_page_of_its_command() {
        for (command, page) in pages() {
            let name = command.get_bin_name().unwrap_or_default();
            let entries: Vec<&str> = page.split("\n.TP\n").skip(1).collect();
            for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
                let Some(long) = flag.get_long() else { continue };
                let header = format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-"));
                let is_of_flag =
                    |entry: &&&str| entry.lines().next().is_some_and(|line| line.contains(&header));
                let entry = entries.iter().find(is_of_flag);
                let description = entry.and_then(|entry| entry.lines().nth(1)).unwrap_or_default();
                assert!(description.starts_with(char::is_alphabetic), "{name} --{long}: {entry:?}");
            }
        }
    }

    #[test]
    fn examples_are_not_filled() {
        let pages = pages();
        let (_, page) = pages.iter().find(|(command, _)| command.get_name() == "bench").unwrap();
        let (_, examples) = page.split_once("\n.SH EXAMPLES\n.nf\n").expect("there are examples");
        assert!(examples.starts_with("  postgres\\-etl bench  "), "{examples}");
        assert!(examples.contains("\n.fi\n.SH NOTES\n.PP\nbench creates the schema"), "{examples}");
        assert!(!page.contains("SH EXTRA"));
    }
}

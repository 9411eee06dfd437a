//! `completions` and `man`: what clap knows about the command line, in other forms.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
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
    if let Some(directory) = directory {
        let written = std::fs::create_dir_all(directory).and_then(|()| {
            clap_mangen::generate_to(args::command().disable_help_subcommand(true), directory)
        });
        written
            .map_err(|error| Error::io(ErrorKind::Output, "write the manual pages to", directory, error))?;
        return Ok(exit::DONE);
    }
    let mut page = Vec::new();
    let mut command = args::command().disable_help_subcommand(true);
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
    Ok(exit::DONE)
}

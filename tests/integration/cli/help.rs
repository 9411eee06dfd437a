//! Help texts, shell completions and the manual page.

use std::process::Command;

use crate::support::workplace::{ProgramOutput, Workplace};

#[test]
fn help_is_as_reviewed() {
    let workplace = Workplace::without_database();
    for command in
        ["", "generate", "load", "imports", "query", "check", "bench", "report", "server", "man", "schema"]
    {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let name = if command.is_empty() { "postgres_etl" } else { command };
        insta::assert_snapshot!(name, workplace.succeed(&args).stdout);
    }
    let host = "the server's host is --host HOST.\n";
    assert!(workplace.succeed(&["-h"]).stdout.contains(host));
    for command in ["load", "query", "check", "bench"] {
        let help = workplace.succeed(&[command, "-h"]).stdout;
        assert!(help.ends_with(host) && help.contains(" --help describes all options"), "{help}");
        assert!(help.lines().count() <= 66, "{command}: {} lines", help.lines().count());
        insta::assert_snapshot!(format!("{command}_short"), help);
    }
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let workplace = Workplace::without_database();
    for shell in ["bash", "zsh", "fish"] {
        assert!(workplace.succeed(&["completions", shell]).stdout.contains("--autocommit"), "{shell}");
    }
    let page = workplace.succeed(&["man"]).stdout;
    assert!(page.starts_with(".ie") && page.contains(".TH postgres-etl 1"), "{page:.300}");
    assert!(page.contains("autocommit"));
    workplace.succeed(&["man", "--directory", "man"]);
    for (page, mentions) in [
        ("postgres-etl", "GeoNames"),
        ("postgres-etl-load", "on\\-conflict"),
        ("postgres-etl-server-stop", "stop"),
    ] {
        let text = workplace.read(&format!("man/{page}.1"));
        assert!(text.contains(&format!(".TH {page} 1")) && text.contains(mentions), "{page}: {text:.300}");
    }
}

#[test]
fn the_version_names_the_source_of_the_places() {
    let workplace = Workplace::without_database();
    let version = concat!("postgres-etl ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(workplace.succeed(&["-V"]).stdout, version);
    let long = workplace.succeed(&["--version"]).stdout;
    assert!(long.starts_with(version) && long.contains("GeoNames") && long.contains("CC BY 4.0"), "{long}");
}

/// The words that bash completes the last of `words` to, with the script of the program.
fn completed_by_bash(workplace: &Workplace, words: &[&str]) -> String {
    let script = workplace.succeed(&["completions", "bash"]).stdout;
    let driver = r#"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _postgres__etl "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[*]}""#;
    let output =
        Command::new("bash").args(["-c", &(script + driver), "bash", "postgres-etl"]).args(words).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let workplace = Workplace::without_database();
    for (words, expected) in [
        (&["lo"][..], "load"),
        (&["load", "--mo"], "--mode"),
        (&["load", "--mode", "ro"], "rows"),
        (&["query", "--pipe"], "--pipeline-depth"),
        (&["server", "st"], "start stop status"),
    ] {
        assert_eq!(completed_by_bash(&workplace, words), expected, "{words:?}");
    }
}

#[test]
fn completions_are_installed_where_the_shells_look() {
    let workplace = Workplace::without_database();
    for (shell, path) in [
        ("bash", ".local/share/bash-completion/completions/postgres-etl"),
        ("zsh", ".local/share/zsh/site-functions/_postgres-etl"),
        ("fish", ".config/fish/completions/postgres-etl.fish"),
    ] {
        let mut command = workplace.command(&["completions", shell, "--install"]);
        command.env("HOME", workplace.path("")).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        let ran = ProgramOutput::from_command(command);
        assert!(ran.status.success() && ran.stdout.is_empty(), "{shell}: {ran:#?}");
        assert!(ran.stderr.starts_with("installed ") && ran.stderr.contains(path), "{shell}: {ran:#?}");
        assert!(workplace.read(path).contains("--autocommit"), "{shell}");
        // The shell itself accepts it, where it is installed.
        let parsed = Command::new(shell).arg("-n").arg(workplace.path(path)).output();
        assert!(parsed.is_err() || parsed.unwrap().status.success(), "{shell}");
    }
    for (shell, driver) in [("bash", BASH), ("zsh", ZSH)] {
        check_completion(&workplace, shell, driver);
    }
    let fish = r#"source $argv[1]; complete -C "postgres-etl load --mo""#;
    let script = workplace.path(".config/fish/completions/postgres-etl.fish");
    if let Ok(completed) = Command::new("fish").args(["-c", fish]).arg(script).output() {
        let completed = String::from_utf8(completed.stdout).unwrap();
        assert!(completed.lines().any(|line| line.starts_with("--mode")), "{completed}");
    }
}

/// Adds the line that --install named to what bash reads, and has it complete a word.
const BASH: &str = r#"
    eval "$1"
    complete -p postgres-etl | grep -q ' -F _postgres__etl ' || exit 1
    COMP_WORDS=(postgres-etl load --mo) COMP_CWORD=2
    _postgres__etl postgres-etl --mo load
    echo "load ${COMPREPLY[*]}""#;

/// Has a zsh at a terminal of its own read the line that --install named, and complete what is typed.
const ZSH: &str = r#"
    zmodload zsh/zpty
    zpty shell zsh -f -i
    zpty -w shell "PS1=; unsetopt zle_bracketed_paste; postgres-etl() { print -r -- \"<\$*>\" }"
    zpty -w shell "$1"
    zpty -w shell 'print re''ady'
    zpty -r shell output '*ready*'
    zpty -w -n shell $'postgres-etl load --mo\t\n'
    zpty -r shell output '*<load*>*'
    print -r -- "$output""#;

/// Check that `shell`, where it is installed, completes `load --mo` after the line that the installation of its script named.
fn check_completion(workplace: &Workplace, shell: &str, driver: &str) {
    let mut command = workplace.command(&["completions", shell, "--install"]);
    command.env("HOME", workplace.path("")).env_remove("XDG_DATA_HOME");
    let ran = ProgramOutput::from_command(command);
    let line = ran.stderr.lines().last().unwrap().trim().to_owned();
    let mut command = Command::new(shell);
    command.args(["-c", driver, shell, &line]).env("HOME", workplace.path("")).env("TERM", "dumb");
    let Ok(output) = command.current_dir(workplace.path("")).output() else { return };
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(written.contains("load --mode"), "{shell}: {line}: {output:?}");
}

/// No line needs to be added where bash-completion is loaded.
#[test]
fn bash_completion_is_found_where_it_is_loaded() {
    let workplace = Workplace::without_database();
    let loader = workplace.write("share/bash_completion", "");
    for (bashrc, is_loaded) in [
        (format!("if [ -f {0} ]; then\n  . {0}\nfi\n", loader.display()), true),
        (format!("# . {}\n", loader.display()), false),
        ("[ -f /nowhere/bash_completion ] && . /nowhere/bash_completion\n".to_owned(), false),
    ] {
        workplace.write(".bashrc", &bashrc);
        let mut command = workplace.command(&["completions", "bash", "--install"]);
        command.env("HOME", workplace.path("")).env_remove("XDG_DATA_HOME");
        let ran = ProgramOutput::from_command(command);
        assert_eq!(ran.stderr.contains("\n  source '"), !is_loaded, "{bashrc}: {ran:#?}");
    }
}

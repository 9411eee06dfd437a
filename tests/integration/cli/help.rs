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
        assert!(workplace.read(path).contains("--autocommit"), "{shell}");
        // The shell itself accepts it, where it is installed.
        let parsed = Command::new(shell).arg("-n").arg(workplace.path(path)).output();
        assert!(parsed.is_err() || parsed.unwrap().status.success(), "{shell}");
    }
    let fish = r#"source $argv[1]; complete -C "postgres-etl load --mo""#;
    let script = workplace.path(".config/fish/completions/postgres-etl.fish");
    if let Ok(completed) = Command::new("fish").args(["-c", fish]).arg(script).output() {
        let completed = String::from_utf8(completed.stdout).unwrap();
        assert!(completed.lines().any(|line| line.starts_with("--mode")), "{completed}");
    }
}

//! Help texts, shell completions and the manual page.

use crate::support::workplace::Workplace;

#[test]
fn help_is_as_reviewed() {
    let workplace = Workplace::without_database();
    for command in ["", "generate", "load", "query", "check", "report", "server"] {
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
}

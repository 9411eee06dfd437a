//! `.env` in the current directory, and passwords that are not shown.

use crate::support::workplace::{ProgramOutput, Workplace};

/// Run `check --json` in `workplace` with only the variables `env`.
fn check(workplace: &Workplace, flags: &[&str], env: &[(&str, &str)]) -> ProgramOutput {
    let mut command = workplace.command(&["check", "--json"]);
    command.args(flags).env_remove("DATABASE_URL").envs(env.iter().copied());
    ProgramOutput::from_command(command)
}

/// The database that the command has used.
fn database(output: &ProgramOutput) -> String {
    output.json()["server"]["database"].as_str().unwrap_or_else(|| panic!("{output:#?}")).to_owned()
}

#[tokio::test]
async fn an_env_file_names_the_server_unless_the_environment_or_a_flag_does() {
    let (ours, other) = (Workplace::new().await, Workplace::new().await);
    let (our_name, other_name): (String, String) = (
        ours.value("SELECT current_database()::text").await,
        other.value("SELECT current_database()::text").await,
    );
    let other_url = other.database_url();
    ours.write(".env", format!("# the server\nexport DATABASE_URL=\"{}\"\n", ours.database_url()));

    assert_eq!(database(&check(&ours, &[], &[])), our_name);
    assert_eq!(database(&check(&ours, &[], &[("DATABASE_URL", other_url)])), other_name);
    assert_eq!(database(&check(&ours, &["--database-url", other_url], &[])), other_name);
    let env = [("DATABASE_URL", ""), ("PGHOST", "/nowhere")];
    let unset = check(&ours, &[], &env);
    assert!(unset.stderr.contains("or unset PGHOST to use the embedded server"), "{}", unset.stderr);
    let ignored = check(&ours, &["--no-env-file"], &[("PGHOST", "/nowhere")]);
    assert!(ignored.stderr.contains("or unset PGHOST to use"), "{}", ignored.stderr);
}

#[test]
fn errors_name_the_env_file_and_not_what_is_in_it() {
    let workplace = Workplace::without_database();
    for (content, expected) in [
        ("PGHOST=/nowhere\nPGPASSWORD=secret\n", "or remove PGHOST from .env to use the embedded server"),
        ("DATABASE_URL=ann:secret@h/d?x=1\n", "unknown parameter in DATABASE_URL in .env"),
        (
            "DATABASE_URL=jdbc:postgresql://ann:secret@h/d\n",
            "settings in DATABASE_URL in .env: it is a JDBC URL",
        ),
        ("# ours\nPGPASSWORD=my secret\n", "failed to read .env, line 2: it is not NAME=value"),
    ] {
        workplace.write(".env", content);
        let output = check(&workplace, &[], &[]);
        assert!(!output.status.success() && output.stderr.contains(expected), "{content}: {}", output.stderr);
        assert!(!format!("{output:?}").contains("secret"), "{content}: {output:?}");
    }
    workplace.write(".env", "PATH=/nowhere\nRUST_BACKTRACE=1\nPGHOST=/nowhere\n");
    assert_eq!(check(&workplace, &[], &[]).status.code(), Some(4));
}

#[test]
fn a_password_on_the_command_line_draws_a_warning() {
    let workplace = Workplace::without_database();
    for url in ["postgres://ann:secret@localhost:1/d", "host=localhost port=1 user=ann password=secret"] {
        let output = check(&workplace, &["--database-url", url], &[]);
        assert!(output.stderr.contains("put it into ~/.pgpass or PGPASSWORD"), "{}", output.stderr);
        assert!(!format!("{output:?}").contains("secret"), "{output:?}");
    }
    let without = check(&workplace, &["--database-url", "postgres://ann@localhost:1/d"], &[]);
    assert!(!without.stderr.contains(".pgpass"), "{}", without.stderr);
}

/// A misspelt variable makes the flag empty, and PGPORT alone names no server: neither is passed over in silence.
#[test]
fn settings_that_name_no_server_are_refused_or_reported() {
    let workplace = Workplace::with_embedded_server("keep = false");
    let output = check(&workplace, &["--database-url", ""], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:#?}");
    assert!(output.stderr.contains("--database-url is empty"), "{output:#?}");
    let output = check(&workplace, &[], &[("PGPORT", "6547"), ("PGDATABASE", "shop"), ("PGHOST", "")]);
    let expected = "the embedded server is used, and PGPORT, PGDATABASE ignored: neither PGHOST";
    assert!(output.stderr.contains(expected), "{output:#?}");
}

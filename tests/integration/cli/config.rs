//! Flags, environment variables and the configuration file, and which of them wins.

use crate::support;
use crate::support::workplace::{ProgramOutput, Workplace};

#[tokio::test]
async fn flags_override_the_environment_which_overrides_the_file() {
    let database = support::database().await;
    let workplace = Workplace::on(&database)
        .await
        .csv("people.csv", "id\n1\n")
        .config("[load]\nmode = \"batch\"\n[database]\nurl = \"host=nowhere.invalid\"\n");
    let mode = |args: &[&str], env: &[(&str, &str)]| {
        let mut command =
            workplace.command(&[&["load", "people.csv", "--truncate", "--json"], args].concat());
        command.envs(env.iter().copied());
        ProgramOutput::from_command(command).json()["mode"].as_str().unwrap().to_owned()
    };
    assert_eq!(mode(&[], &[]), "batch");
    assert_eq!(mode(&[], &[("POSTGRES_ETL_MODE", "rows")]), "rows");
    assert_eq!(mode(&["--mode", "copy"], &[("POSTGRES_ETL_MODE", "rows")]), "copy");
    let named = Workplace::without_database()
        .csv("people.csv", "id\n1\n")
        .config(format!("[database]\npool_size = 64\nurl = {:?}\n", database.url()));
    named.succeed(&["load", "people.csv", "--truncate"]);
    let message =
        named.fail(&["load", "people.csv", "--database-url", "postgresql://nobody@127.0.0.1:1/x"], 4);
    assert!(message.contains("127.0.0.1:1"), "{message}");
}

/// Hugo, mdBook's preprocessors and many others have a `config.toml` too.
#[test]
fn a_configuration_of_another_program_is_passed_over() {
    let workplace =
        Workplace::without_database().config("baseURL = 'https://example.org/'\n[server]\nport = 1\n");
    let ran = workplace.succeed(&["generate", "-n", "1", "-o", "x.csv"]);
    let note = "./config.toml is another program's, and is not read; this program's may be named postgres-etl.toml\n";
    assert_eq!(ran.stderr, note);
    assert_eq!(workplace.succeed(&["generate", "-n", "1", "-o", "x.csv", "-q"]).stderr, "");
    workplace.fail(&["generate", "-n", "1", "-o", "x.csv", "--config", "config.toml"], 2);
    workplace.write("postgres-etl.toml", "[generate]\nrows = 2\n");
    let ran = workplace.succeed(&["generate", "-o", "x.csv"]);
    assert!(ran.stderr.is_empty() && ran.stdout.contains("generated 2 people"), "{ran:#?}");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
    let workplace = Workplace::without_database().config("[load]\nbatchsize = 5\n");
    insta::assert_snapshot!(workplace.fail(&["load"], 2), @r"
    error: config.toml, line 2: unknown key `batchsize`
      help: did you mean `batch_size`? Valid here: input, delimiter, quote, escape, null, header, comment, encoding, sniff, format, trim, decimal, thousands, true, false, stray_quotes, skip_lines, blank_lines, pad, union_by_name, skip_rows, limit, date_style, names, infer, types, select, add_column, max_record_bytes, mode, truncate, defer_indexes, partitions, analyze, batch_size, pipeline_depth, sync_every, autocommit, connections
    ");
    insta::assert_snapshot!(workplace.fail(&["load", "--config", "none.toml"], 2), @r"
    error: there is no configuration file none.toml
      help: leave --config out to use ./postgres-etl.toml or ./config.toml, or the defaults without them
    ");
}

/// What files are like stays the same from load to load.
#[tokio::test]
async fn the_file_says_how_files_are_written() {
    let table = "CREATE TABLE t (id int, is_open boolean, price numeric, day date, note text, source text)";
    let workplace = Workplace::with_sql(table).await;
    workplace.write("data", "junk\n;Is Open;Price;Day;Note\n1;ja;1.234,5;8.10.2026;n/a\n\n2;nein;2\n");
    let config = "[load]\nformat = \"csv\"\ndelimiter = \";\"\nskip_lines = 1\nblank_lines = \"skip\"\npad = true\n\
                  trim = true\ndecimal = \",\"\nthousands = \".\"\ntrue = [\"ja\"]\nfalse = [\"nein\"]\nnull = [\"\", \"n/a\"]\n\
                  date_style = \"dmy\"\nnames = \"snake_case\"\nstray_quotes = \"reject\"\nlimit = 2\n\
                  select = [\"column1\", \"is_open\"]\nadd_column = { source = \"@file\" }\n[table]\nname = \"t\"\n";
    let workplace = workplace.config(config);
    let columns = ["--map", "column1=id"];
    workplace.succeed(&[&["load", "data", "--append"], &columns[..]].concat());
    let rows = "SELECT id, is_open, price, day, note, source FROM t ORDER BY id";
    assert_eq!(workplace.csv_of(rows).await, "1,t,,,,data\n2,f,,,,data\n");
    // What it says of its own table holds for no other.
    workplace.succeed(&[&["load", "data", "--table", "public.t", "--truncate"], &columns[..]].concat());
    assert_eq!(workplace.csv_of(rows).await, "1,t,1234.5,2026-10-08,,\n2,f,2,,,\n");
    workplace.succeed(&[&["load", "data", "-t", "t", "--truncate", "--limit", "1"], &columns[..]].concat());
    assert_eq!(workplace.count("t").await, 1);
    for (key, expected) in [
        ("date_style = \"dym\"", "config.toml, line 2: unknown value `dym`\n  help: did you mean `dmy`?"),
        ("header = \"maybe\"", "config.toml, line 2: expected true, false or \"auto\""),
        ("add_column = { a = \"@x\" }", "[load] add_column a = \"@x\": expected now(), @file"),
        ("thousands = \"..\"", "[load] thousands is .., not one character"),
        ("decimal = \"\"", "[load] decimal is \"\", not one character\n  help: give a mark, such as \",\""),
    ] {
        let workplace =
            Workplace::without_database().csv("x.csv", "a\n1\n").config(format!("[load]\n{key}\n"));
        let error = workplace.fail(&["load", "x.csv"], 2);
        assert!(error.contains(expected), "{key}: {error}");
    }
}

/// Arguments need not be UTF-8, also where they are wrong.
#[test]
fn a_wrong_command_line_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let workplace = Workplace::without_database();
    let mut command = workplace.command(&["load", "--bogus", "--json"]);
    command.arg(std::ffi::OsStr::from_bytes(b"bad\xff.csv"));
    let ran = ProgramOutput::from_command(command);
    assert_eq!(ran.status.code(), Some(2), "{ran:#?}");
    assert_eq!(ran.json()["error"]["exit_code"], 2);
}

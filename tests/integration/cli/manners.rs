//! What people type from habit, or by mistake.

use crate::support::workplace::{ProgramOutput, Workplace};

/// Each of these fails with the exit code and says what to do; the error contains the first text, and the whole the
/// second.
#[tokio::test]
async fn mistakes_are_answered_with_what_to_do() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int, name varchar(3), amount numeric(4,2));
         CREATE TABLE two (a varchar(3), b varchar(3), c int)",
    )
    .await
    .csv("orders.csv", "id,name\n1,a\n")
    .csv("rows.csv", "1,a\n")
    .csv("long.csv", "id,name\n1,abcd\n")
    .csv("large.csv", "id,amount\n1,100\n")
    .csv("two.csv", "a,b\nx,long\n")
    .csv("script.sql", "\\set id random(1, 9)\nSELECT :id;\n");
    let load = |args: &[&'static str]| [&["load"], args].concat();
    let cases: Vec<(Vec<&str>, i32, &str, &str)> = vec![
        (
            load(&["orders.csv", "orders"]),
            1,
            "there is no file orders\n",
            "help: if it is the table: postgres-etl load orders.csv --table orders\n",
        ),
        (load(&["orders.csv", "missing.csv", "-t", "t"]), 1, "failed to open missing.csv", "check the path"),
        (
            load(&["https://u:secret@h/x.csv"]),
            2,
            "a file is expected, not a URL\n",
            "help: pipe it in: curl -fsSL URL | postgres-etl load -\n",
        ),
        (
            load(&["postgresql://h/d"]),
            2,
            "a file is expected, not a URL\n",
            "name the server with --database-url",
        ),
        (load(&["orders.csv", "-t", "t", "--delimiter", ";"]), 1, "which t does not have", "--delimiter ','"),
        (
            load(&["rows.csv", "-t", "t", "--no-header"]),
            1,
            "2 fields, where 3 were expected",
            "with --columns",
        ),
        (
            load(&["rows.csv", "-t", "t", "--no-header", "--delimiter", "|"]),
            1,
            "1 field, where 3 were expected",
            "--delimiter ','",
        ),
        (load(&["long.csv", "-t", "t"]), 1, "long.csv, line 2", "name"),
        (load(&["large.csv", "-t", "t", "--mode", "rows"]), 1, "large.csv, line 2", "amount"),
        (
            load(&["orders.csv", "-t", "t", "-T", "5"]),
            2,
            "unexpected argument '-T'",
            "Usage: postgres-etl load",
        ),
        (load(&["-W"]), 2, "unexpected argument '-W'", "tip: passwords come from PGPASSWORD or ~/.pgpass"),
        (
            load(&["orders.csv", "--batch-size", "1.5"]),
            2,
            "invalid value '1.5'",
            "such as 250000, 250_000, 250k or 1e6",
        ),
        (vec!["laod"], 2, "unrecognized subcommand 'laod'", "'load'"),
        (
            vec!["help", "laod"],
            2,
            "unrecognized subcommand 'laod'",
            "tip: a similar subcommand exists: 'load'",
        ),
        (vec!["query", "-j", "4"], 2, "unexpected argument '-j'", "tip: it uses every core; leave it out"),
        (
            vec!["query", "-f", "script.sql"],
            2,
            "--file: script.sql contains \\set, but SQL is expected\n",
            "write :name as $1",
        ),
        (
            vec!["query", "--sql", "SELECT 1", "--save", "nowhere/x.json"],
            1,
            "failed to create the saved run nowhere/x.json: No such file or directory",
            "",
        ),
        (
            vec!["query", "--sql", "SELECT 1", "-T", "fast"],
            2,
            "invalid value 'fast'",
            "write 500ms, 30s or 5m",
        ),
    ];
    for (args, exit_code, error, help) in cases {
        let message = workplace.fail(&args, exit_code);
        let first = message.strip_prefix("error: ").unwrap_or_else(|| panic!("{args:?}: {message}"));
        assert!(first.contains(error) && first.contains(help), "{args:?}: {message}");
        assert!(!message.contains("as a value, use") && !message.contains("secret"), "{args:?}: {message}");
    }
    // In whatever way the rows are sent, the server's refusal of a value names its column.
    for mode in ["rows", "batch", "copy"] {
        let message = workplace.fail(&["load", "two.csv", "-t", "two", "--mode", mode], 1);
        assert!(message.contains("two.csv, line 2"), "{mode}: {message}");
        assert!(
            message.contains("in column b")
                || message.contains("in column a or b")
                || message.contains("(b)"),
            "{mode}: {message}"
        );
    }
}

#[tokio::test]
async fn numbers_are_read_as_people_write_them() {
    let workplace = Workplace::new().await;
    for (number, rows) in [("1e3", 1000), ("2_000", 2000), ("1.5k", 1500)] {
        let report = workplace.succeed(&["generate", "-n", number, "-o", "x.csv", "--json"]).json();
        assert_eq!(report["rows"], rows, "{number}");
    }
    workplace.write("rows.csv", "note\n# a comment\nid\n".to_owned() + &"1\n".repeat(2200));
    let load = ["load", "rows.csv", "-t", "t", "--create", "--skip-lines", "0.2e1", "--skip-rows", "1_000"];
    let report = workplace.succeed(&[&load[..], &["--limit", "1.1k", "--json"]].concat()).json();
    assert_eq!(report["rows_loaded"], 1100, "{report:#}");
    let select = ["query", "--sql", "SELECT 1", "--json"];
    let flags =
        ["-n", "1k", "-c", "0.2e1", "-d", "1_0", "--sync-every", "2", "--max-errors", "1k", "-M", "prepared"];
    let report = workplace.succeed(&[&select[..], &flags].concat()).json();
    assert_eq!((&report["queries"], &report["load"]["connections"]), (&1000.into(), &2.into()), "{report:#}");
    assert_eq!(report["load"]["pipeline_depth"], 10, "{report:#}");
    // As pgbench: -T in seconds, -R, -M, -f.
    workplace.write("one.sql", "SELECT 1;\n");
    let flags = ["query", "-f", "one.sql", "-T", "0.2", "-R", "1k", "-M", "extended", "--json"];
    let report = workplace.succeed(&flags).json();
    assert_eq!(report["load"]["rate"], 1000.0, "{report:#}");
    assert_eq!(report["load"]["protocol"], "unnamed", "{report:#}");
    assert!(report["seconds"].as_f64().unwrap() < 10.0, "{report:#}");
}

/// `-h` is not psql's.
#[test]
fn dash_h_is_help_and_says_so() {
    let workplace = Workplace::without_database();
    // A script that goes on must not take the help for a load.
    for args in [
        &["load", "-h", "localhost", "x.csv"][..],
        &["load", "x.csv", "-t", "t", "-h", "localhost"],
        &["query", "-h", "localhost"],
        &["bench", "-h", "localhost"],
        &["-h", "localhost"],
    ] {
        let ran = workplace.run(args);
        assert!(ran.status.code() == Some(2) && ran.stdout.is_empty(), "{ran:#?}");
        assert_eq!(ran.stderr, "error: -h is help here; name the server's host with --host\n");
    }
    let ran = workplace.succeed(&["load", "x.csv", "-h"]);
    assert!(ran.stdout.contains("Usage: postgres-etl") && ran.stderr.is_empty(), "{ran:#?}");
}

/// Each flag overrides its part of the URL and of the variables.
#[tokio::test]
async fn the_server_is_named_part_by_part_as_for_psql() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("t.csv", "id\n1\n");
    let sql =
        "SELECT current_setting('unix_socket_directories'), current_setting('port'), current_user::text,
                      current_database()::text";
    let row = workplace.client().query_one(sql, &[]).await.unwrap();
    let [socket, port, user, database] = [0, 1, 2, 3].map(|column| row.get::<_, String>(column));
    let socket = socket.split(',').next().unwrap().trim_matches(['"', ' ']);
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = workplace.command(&[&["load", "t.csv", "-t", "t", "--json"], args].concat());
        command.env_remove("DATABASE_URL").env("HOME", workplace.path("")).envs(env.iter().copied());
        ProgramOutput::from_command(command)
    };
    let all = ["--host", socket, "-p", &port, "-U", &user, "-d", &database];
    let other = "postgresql://nobody@wrong.invalid:1,other.invalid:2/nothing";
    let url = workplace.database_url();
    for (args, env) in [
        (&all[..], &[][..]),
        (&all, &[("DATABASE_URL", other)]),
        (
            &all,
            &[("PGHOST", "wrong.invalid"), ("PGPORT", "1"), ("PGUSER", "nobody"), ("PGDATABASE", "nothing")],
        ),
        (&all, &[("PGHOST", "wrong.invalid"), ("PGHOSTADDR", "192.0.2.1")]),
        (
            &["--dbname", &database],
            &[("PGHOST", socket), ("PGPORT", &port), ("PGUSER", &user), ("PGDATABASE", "no")],
        ),
        // psql takes a URL as the database, too.
        (&["-d", url], &[("DATABASE_URL", other)]),
    ] {
        let ran = run(args, env);
        assert!(ran.status.success(), "{args:?}, {env:?}: {ran:#?}");
        let server = &ran.json()["server"];
        assert_eq!((&server["host"], &server["database"]), (&socket.into(), &database.as_str().into()));
    }
    // Without a server named, whoever names the database means the one that psql would use, not the embedded one.
    let ran = run(&["-d", "nothing", "-p", "1"], &[]);
    assert_eq!(ran.status.code(), Some(4), "{ran:#?}");
    assert!(ran.stderr.contains("failed to connect to postgresql://"), "{ran:#?}");
    assert!(
        ran.stderr.contains(":1/nothing: connection refused") && ran.stderr.contains("leave --port out"),
        "{ran:#?}"
    );
    let ran = run(&["--host", "h", "-p", "x"], &[]);
    assert!(ran.status.code() == Some(2) && ran.stderr.contains("invalid port \"x\" in --port"), "{ran:#?}");
    let query =
        workplace.succeed(&["query", "--sql", "SELECT 1", "-n", "1", "--dbname", "postgres", "--json"]);
    assert_eq!(query.json()["server"]["database"], "postgres");
    let check = workplace.run(&["check", "t.csv", "-t", "t", "-d", "postgres", "--json"]);
    assert_eq!(check.json()["server"]["database"], "postgres");
}

/// On a fresh database `check` does not call the shipped workloads bad, nor for another table.
#[tokio::test]
async fn workloads_of_a_table_that_is_not_there_yet_are_not_bad() {
    let workplace = Workplace::with_sql("CREATE TABLE orders (id int)").await.csv("orders.csv", "id\n1\n");
    for args in [&["check"][..], &["check", "orders.csv", "-t", "orders"]] {
        let ran = workplace.succeed(args);
        assert_eq!(
            ran.stdout.matches("not checked, because persons does not exist yet").count(),
            4,
            "{ran:#?}"
        );
    }
}

#[tokio::test]
async fn a_replaced_table_is_reported_as_replaced() {
    let workplace = Workplace::new().await.csv("t.csv", "id\n1\n");
    let load = ["load", "t.csv", "-t", "t", "--create", "--replace"];
    assert!(workplace.succeed(&load).stdout.contains("\n  table   created"));
    let again = workplace.succeed(&load);
    assert!(again.stdout.contains("\n  table   replaced"), "{again:#?}");
    let report = workplace.succeed(&[&load[..], &["--json"]].concat()).json();
    assert_eq!((&report["created"], &report["replaced"]), (&true.into(), &true.into()));
}

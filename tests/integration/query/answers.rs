//! `query --verify` and `--expect-…`: results compared with those expected.

use crate::support::workplace::Workplace;

#[tokio::test]
async fn results_are_compared_with_those_of_a_quiet_connection() {
    let workplace = Workplace::with_sql(
            "CREATE TABLE numbers (id int PRIMARY KEY, n int); INSERT INTO numbers SELECT i, i * 7 FROM generate_series(1, 50) i",
        )
        .await
        .config(
            "[query.read]\nsql = \"SELECT n FROM numbers WHERE id >= $1\"\nargs = [{ uniform = [1, 50] }]\n
         [query.both]\ntransaction = [{ sql = \"SELECT n FROM numbers WHERE id = $1\", args = [{ uniform = [1, 60] }] }, { sql = \"SELECT 1\" }]\n
         [query.write]\nsql = \"UPDATE numbers SET n = n + 1 WHERE id = $1\"\nargs = [{ uniform = [1, 50] }]\n",
        );
    for protocol in ["prepared", "unnamed", "simple"] {
        let args = ["query", "read", "both", "-n", "200", "--verify", "--protocol", protocol, "--json"];
        let report = workplace.succeed(&args).json();
        assert_eq!(report["checked"]["compared"], 200, "{protocol}");
        assert_eq!(report["checked"]["different"], 0, "{protocol}");
    }
    let ran = workplace.run(&["query", "read", "write", "-n", "200", "--verify"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("of 100 results were not as expected; first: read ("), "{ran:#?}");
    assert!(ran.stdout.contains("DO NOT MATCH"), "{ran:#?}");

    // Arguments that print alike are distinguished, and a read-only statement may begin with a comment or WITH.
    workplace.write("pairs.csv", "v,w\n\"a, b\",c\na,\"b, c\"\nNULL,x\n,x\n");
    let sql = "-- which\nWITH a AS (SELECT $1::text v, $2::text w) SELECT v, w FROM a";
    let pairs = ["query", "--sql", sql, "--arg", "csv:pairs.csv:v", "--arg", "csv:pairs.csv:w"];
    let report = workplace.succeed(&[&pairs[..], &["-n", "40", "--verify", "--json"]].concat()).json();
    assert_eq!((&report["checked"]["compared"], &report["load"]["sync_every"]), (&40.into(), &256.into()));

    // The order of the rows does not matter.
    let shuffled = "SELECT i FROM generate_series(1, 5) i ORDER BY random()";
    workplace.succeed(&["query", "--sql", shuffled, "-n", "50", "--verify"]);

    // A query that fails on the quiet connection has no result to compare with; in the run it is an error like any
    // other.
    let divides = ["query", "--sql", "SELECT 10 / $1::int", "--arg", "uniform:0:4", "-n", "200", "--verify"];
    let report = workplace.succeed(&[&divides[..], &["--max-errors", "200", "--json"]].concat()).json();
    let refused = report["errors_by_sqlstate"]["22012"]["count"].as_u64().unwrap();
    assert!(refused > 0 && report["errors"] == refused, "{report:#}");
    assert_eq!(report["checked"]["compared"], 200 - refused, "{report:#}");
    assert_eq!(report["checked"]["different"], 0, "{report:#}");
    let once = "SELECT 1 / nextval('once')::int / (nextval('once') - 2)::int";
    workplace.execute("CREATE SEQUENCE once MINVALUE 1").await;
    let ran = workplace.run(&["query", "--sql", once, "-n", "3", "--verify", "--sync-every", "1", "-c", "1"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("--sql: succeeded, but failed before the run"), "{ran:#?}");
    let nothing = workplace.fail(&["query", "write", "-n", "5", "--verify"], 2);
    assert!(nothing.contains("--verify has nothing to compare"), "{nothing}");
    let endless = workplace.fail(&["query", "read", "--duration", "1s", "--verify"], 2);
    assert!(endless.contains("has to know how many there are"), "{endless}");
}

#[tokio::test]
async fn results_are_compared_with_those_expected() {
    let workplace = Workplace::new().await;
    let run = |sql: &str, more: &[&str]| {
        let ran = workplace.run(&[&["query", "--sql", sql, "-n", "4"], more].concat());
        (ran.status.code(), ran.stderr)
    };
    let rows = "SELECT i::numeric / 2 FROM generate_series(1, 3) i";
    assert_eq!(run(rows, &["--expect-rows", "3"]).0, Some(0));
    assert_eq!(run(rows, &["--expect-rows", "3", "--expect-value", "0.50000000000000000000"]).0, Some(0));
    let (code, stderr) = run(rows, &["--expect-rows", "4"]);
    assert!(
        code == Some(1)
            && stderr.contains("4 of 4 results were not as expected; first: --sql: 3 rows instead of 4"),
        "{stderr}"
    );
    let (code, stderr) = run("SELECT -7", &["--expect-value", "-8"]);
    assert!(code == Some(1) && stderr.contains("--sql: the first value is not -8"), "{stderr}");
    assert_eq!(run("SELECT -7", &["--expect-value", "-7"]).0, Some(0));
    assert_eq!(run("SELECT -7", &["--expect-value", "-7", "--protocol", "simple"]).0, Some(0));
    let (code, stderr) = run("SELECT 7", &["--expect-value", "seven"]);
    assert!(code == Some(1) && stderr.contains("read --expect-value seven as int4"), "{stderr}");
}

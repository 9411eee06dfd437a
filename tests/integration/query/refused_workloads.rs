//! `query`: workloads, arguments and flags that are refused before anything is measured.

use crate::support::query::workplace_with_people;
use crate::support::workplace::Workplace;

#[tokio::test]
async fn statements_that_do_not_prepare_are_refused_before_the_run() {
    let workplace = workplace_with_people(10).await;
    insta::assert_snapshot!(workplace.fail(&["query", "by-di", "-n", "5"], 2), @r"
    error: there is no workload `by-di`
      help: did you mean `by-id`? There are: by-id, older-than, set-age, summary, tpcb, tpcb-simple, select-only
    ");
    insta::assert_snapshot!(workplace.fail(&["query", "-n", "0"], 2), @r"
    error: -n 0 asks for no queries
      help: give a number from 1 up
    ");
    workplace.write(
        "config.toml",
        "[query.syntax]\nsql = \"SELEC 1\"\n
         [query.lines]\nsql = \"\"\"\nSELECT 'Größe',\n\tname\nFROM persons\n\tWHERE idd = $1\n\"\"\"\nargs = [1]\n
         [query.arguments]\nsql = \"SELECT $1::int + $2::int\"\nargs = [1]\n
         [query.range]\nsql = \"SELECT $1::int\"\nargs = [{ uniform = [5, 1] }]\n",
    );
    insta::assert_snapshot!(workplace.fail(&["query", "syntax", "-n", "5"], 1), @r#"
    error: cannot prepare [query.syntax]: syntax error at or near "SELEC" (SQLSTATE 42601)
      |
    1 | SELEC 1
      | ^
      help: correct the statement of [query.syntax] in config.toml
    "#);
    insta::assert_snapshot!(workplace.fail(&["query", "lines", "-n", "5"], 1), @r#"
    error: cannot prepare [query.lines]: column "idd" does not exist (SQLSTATE 42703)
      |
    4 | 	WHERE idd = $1
      | 	      ^
      help: Perhaps you meant to reference the column "persons.id".
    "#);
    insta::assert_snapshot!(workplace.fail(&["query", "arguments", "-n", "5"], 2), @r"
    error: query arguments has 2 parameters but 1 argument: SELECT $1::int + $2::int
      help: give [query.arguments] one entry of args for each of $1, $2 …
    ");
    insta::assert_snapshot!(workplace.fail(&["query", "range", "-n", "5"], 2), @r"
    error: [query.range]: argument 1 is uniform from 5 to 1, an empty range
      help: put the lower bound first
    ");
}

#[tokio::test]
async fn unusable_arguments_and_flags_are_refused_before_the_run() {
    let workplace = Workplace::with_sql("CREATE TABLE asked (id int); CREATE TABLE empty (id int)")
        .await
        .csv("nothing.csv", "id\n")
        .csv("latin1.csv", b"id\n1\n\xfc\n")
        .csv("late.csv", format!("id\n{}late\n", "1\n".repeat(300)));
    let insert = "INSERT INTO asked VALUES ($1)";
    let sql = |arg: &str| workplace.run(&["query", "--sql", insert, "--arg", arg, "-n", "5"]);
    for (arg, message, help) in [
        (
            "abc",
            r#"read abc as $1 (int4) of --sql: invalid input syntax for type integer: "abc""#,
            "cast the parameter",
        ),
        ("choice:1,x", "read x as $1 (int4) of --sql", "change the argument"),
        ("uniform:1:99999999999", "out of range for type integer", "change the argument"),
        (
            "column:asked.city",
            "argument 1 names column city, which asked does not have",
            "its columns are id",
        ),
        (
            "column:nowhere.id",
            "argument 1 names a column of nowhere, a table that does not exist",
            "load it first",
        ),
        ("column:empty.id", "argument 1 names column id of empty, which has no values", "load it first"),
        ("csv:nothing.csv:id", "argument 1 names a column of nothing.csv, which has no rows", ""),
        ("csv:late.csv:id", "read late as $1 (int4) of --sql", "change the argument"),
        ("csv:latin1.csv:id", "latin1.csv, line 3: id is not valid UTF-8", "convert the file to UTF-8"),
        (
            "csv:nothing.csv:city",
            "argument 1 names column city, which nothing.csv does not have",
            "its columns are id",
        ),
        ("zipfian:1:9:-1", "argument 1 has -1 as the exponent of a zipfian", "give a number from 0 to 1000"),
    ] {
        let ran = sql(arg);
        assert!(!ran.status.success() && ran.stdout.is_empty(), "{arg}: {ran:#?}");
        assert!(ran.stderr.contains(message) && ran.stderr.contains(help), "{arg}: {}", ran.stderr);
    }
    assert_eq!(workplace.count("asked").await, 0);

    let many = workplace.fail(&["query", "--sql", "SELECT 1", "--arg", "1"], 2);
    assert!(many.contains("query --sql has 0 parameters but 1 argument"), "{many}");
    for (flags, message) in [
        (&["--rate", "0"][..], "expected queries per second"),
        (&["--duration", "5x"], "write 500ms, 30s or 5m"),
        (&["--arrivals", "constant"], "--arrivals is for an open loop"),
        (&["--fail-if", "slower:5%"], "--fail-if compares with saved runs"),
        (&["--fail-if", "slower:5%", "--baseline", "x"], "--fail-if needs 5 runs or more on both sides"),
        (&["--fail-if", "slower:5%", "--baseline", "x", "--runs", "4"], "--fail-if needs 5 runs or more"),
        (&["--fail-if", "slower:5%", "--against-sql", "SELECT 2", "--runs", "4"], "add --runs 5 or more"),
        (&["--runs", "0"], "the number of runs is 0"),
        (&["--runs", "2", "--explain"], "--explain is for a single run"),
        (&["--runs", "2", "--per-connection"], "--per-connection is for a single run"),
        (&["--runs", "2", "--find-max", "--p99", "5ms"], "a search changes its settings"),
        (&["--against-sql", "SELECT 2", "--sweep", "rate=1,2"], "a search changes its settings"),
        (&["--against-sql", "SELECT 2", "--baseline", "x"], "cannot be used with '--baseline <FILE>'"),
        (&["--against-sql", "SELECT 2", "--save", "x"], "those of --against are compared at once"),
        (&["--against-sql", " "], "--against-sql"),
        (&["--against", " "], "--against is empty"),
        (&["--against", "nonsense"], "--against"),
        (&["--find-max"], "--find-max needs a bound"),
        (&["--sweep", "depth=3"], "expected connections=1,2,4"),
        (&["--sweep", "connections=1,2", "connections=3"], "--sweep maps one setting, or two different ones"),
        (&["--sweep", "connections=1,2", "--save", "x"], "--save is for runs with equal settings"),
        (&["--sweep", "rate=1,2", "--rate", "5"], "--rate and --sweep rate=… both set the rate"),
        (&["--sweep", "rate=100000001"], "--sweep rate=100000001 is out of range"),
        (&["--ramp", "1:1e9:1e8"], "ascending rates from 0.001 to 100000000 per second"),
        (&["--arg", "unifrm:1:2"], "did you mean uniform:1:2? For a constant, write text:unifrm:1:2"),
        (&["--explain", "--sync-every", "8"], "--explain has to know which query is slowest"),
        (&["--no-latency", "--rate", "5"], "--no-latency measures no latencies"),
        (&["--no-latency", "--save", "x"], "--no-latency measures no latencies"),
    ] {
        let told = workplace.fail(&[&["query", "--sql", "SELECT 1"], flags].concat(), 2);
        assert!(told.contains(message), "{flags:?}: {told}");
    }
    let expects = workplace.fail(&["query", "summary", "--expect-rows", "1"], 2);
    assert!(expects.contains("--sql"), "{expects}");
    let ignored = workplace.fail(&["query", "summary", "--arg", "1"], 2);
    assert!(ignored.contains("--sql"), "{ignored}");
    let copies = workplace.fail(&["query", "--sql", "copy asked to stdout"], 2);
    assert!(copies.contains("--sql is a COPY, which query cannot measure"), "{copies}");
    let several = workplace.fail(&["query", "--sql", "SELECT 1; SELECT 2"], 1);
    assert!(several.contains("list them as transaction"), "{several}");
    let mixed = workplace.fail(&["query", "by-id", "summary", "--against-sql", "SELECT 1"], 2);
    assert!(mixed.contains("--against-sql is for a single statement, not a mix or a transaction"), "{mixed}");
    let twice = workplace.fail(&["query", "by-id", "by-id"], 2);
    assert!(twice.contains("workload by-id is named twice"), "{twice}");
}

#[tokio::test]
async fn contradictory_workloads_are_named() {
    let workplace = Workplace::new().await;
    for (text, message) in [
        ("sql = \"SELECT 1\"\nfile = \"x.sql\"", "[query.x] has sql and file for one statement"),
        ("file = \"missing.sql\"", "failed to read the statement missing.sql"),
        ("sql = \"SELECT 1\"\nweight = 0", "[query.x] has weight 0"),
        (
            "sql = \"SELECT 1\"\nisolation = \"serializable\"",
            "[query.x] has draw or isolation, which are for a transaction",
        ),
        (
            "transaction = [{ sql = \"SELECT 1\" }]\nisolation = \"banana\"",
            "[query.x] has the unknown isolation level `banana`",
        ),
        (
            "sql = \"SELECT $1\"\nargs = [{ drawn = \"a\" }]",
            "[query.x] has an argument drawn as a, which draw does not define",
        ),
        ("sql = \"SELECT $1\"\nargs = [{ normal = [1, 2] }]", "config.toml, line 3"),
    ] {
        workplace.write("config.toml", format!("[query.x]\n{text}\n"));
        let told = workplace.fail(&["query", "x", "-n", "5"], 2);
        assert!(told.contains(message), "{text}: {told}");
    }
}

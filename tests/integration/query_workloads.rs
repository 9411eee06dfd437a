//! `query`: what is asked, whether it is answered rightly, and what is refused.

use serde_json::Value;

use crate::support::query::{texts, workplace};

#[tokio::test]
async fn a_mix_is_exact_whatever_the_number_of_connections() {
    let (workplace, client) = workplace("CREATE TABLE asked (who text, what int)").await;
    workplace.write(
        "config.toml",
        "[query.often]\nsql = \"INSERT INTO asked VALUES ('often', $1)\"\nargs = [{ uniform = [1, 1000] }]\nweight = 3\n
         [query.seldom]\nsql = \"INSERT INTO asked VALUES ('seldom', $1)\"\nargs = [{ sequence = [1, 1000] }]\n",
    );
    let mut found = Vec::new();
    for connections in ["1", "5"] {
        let args = ["query", "often", "seldom", "-n", "400", "--connections", connections, "--json"];
        let report = workplace.succeed(&args).json();
        let answered: Vec<&Value> =
            report["workloads"].as_array().unwrap().iter().map(|workload| &workload["answered"]).collect();
        assert_eq!(answered, [300, 100]);
        found.push(
            texts(
                &client,
                "WITH gone AS (DELETE FROM asked RETURNING *) SELECT gone::text FROM gone ORDER BY 1",
            )
            .await,
        );
    }
    assert_eq!(found[0], found[1], "the same seed asks the same");
    let seldom = found[0].iter().filter(|row| row.starts_with("(seldom")).count();
    assert_eq!(seldom, 100);
    let numbers: std::collections::BTreeSet<&String> =
        found[0].iter().filter(|row| row.starts_with("(seldom")).collect();
    assert_eq!(numbers.len(), 100, "the sequence counts the runs of its own workload");

    // What a workload asks does not depend on what it is mixed with.
    workplace.succeed(&["query", "often", "-n", "300"]);
    let alone = texts(&client, "SELECT asked::text FROM asked ORDER BY 1").await;
    assert_eq!(alone[..], found[0][..300]);
}

#[tokio::test]
async fn arguments_of_every_kind_arrive() {
    let (workplace, client) = workplace(
        "CREATE TABLE asked (n bigint GENERATED ALWAYS AS IDENTITY, what text);
         CREATE TABLE places (city text); INSERT INTO places VALUES ('Rome'), ('Oslo'), (NULL)",
    )
    .await;
    workplace.write("asked.csv", "id,city\n7,\"Rio, Brazil\"\n8,\n9,\"\"\n");
    let ask = async |arg: &str| {
        client.batch_execute("TRUNCATE asked RESTART IDENTITY").await.unwrap();
        let sql = "INSERT INTO asked (what) VALUES (coalesce($1::text, 'NULL'))";
        workplace.succeed(&["query", "--sql", sql, "--arg", arg, "-n", "60", "-c", "1", "-d", "1"]);
        texts(&client, "SELECT what FROM asked ORDER BY n").await
    };
    let unique = |values: &[String]| {
        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        values
    };
    assert_eq!(unique(&ask("-5").await), ["-5"]);
    assert_eq!(unique(&ask("text:choice:a,b").await), ["choice:a,b"]);
    assert_eq!(unique(&ask("choice:a,b").await), ["a", "b"]);
    assert_eq!(unique(&ask("column:places.city").await), ["Oslo", "Rome"]);
    assert_eq!(ask("sequence:8:10").await[..4], ["8", "9", "10", "8"]);
    assert_eq!(ask("csv:asked.csv:city").await[..4], ["Rio, Brazil", "NULL", "", "Rio, Brazil"]);
    for drawn in ["uniform:1:3", "gaussian:1:3:2", "exponential:1:3:1", "zipfian:1:3:1"] {
        assert_eq!(unique(&ask(drawn).await), ["1", "2", "3"], "{drawn}");
    }
    let fractions = ask("uniform:0.5:0.75").await;
    assert!(fractions.iter().all(|value| (0.5..=0.75).contains(&value.parse::<f64>().unwrap())));
}

#[tokio::test]
async fn a_sample_of_a_column_does_not_depend_on_where_its_rows_lie() {
    let (workplace, client) = workplace(
        "CREATE TABLE asked (n bigint GENERATED ALWAYS AS IDENTITY, what int);
         CREATE TABLE numbers (n int); INSERT INTO numbers SELECT i % 50000 FROM generate_series(1, 100000) i",
    )
    .await;
    let mut samples = Vec::new();
    for _ in 0..2 {
        let sql = "INSERT INTO asked (what) VALUES ($1)";
        let args = ["query", "--sql", sql, "--arg", "column:numbers.n", "-n", "200", "-c", "1", "-d", "1"];
        workplace.succeed(&args);
        samples.push(texts(&client, "SELECT what::text FROM asked ORDER BY n").await);
        for statement in ["TRUNCATE asked", "UPDATE numbers SET n = n WHERE n % 3 = 0", "VACUUM FULL numbers"]
        {
            client.batch_execute(statement).await.unwrap();
        }
    }
    assert_eq!(samples[0], samples[1]);
    let distinct: std::collections::BTreeSet<&String> = samples[0].iter().collect();
    assert!(distinct.len() > 190, "{} of 200", distinct.len());
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing_and_timed_by_statement() {
    let (workplace, client) = workplace(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
         INSERT INTO accounts VALUES (1, 1000), (2, 0)",
    )
    .await;
    workplace.write("take.sql", "UPDATE accounts SET balance = balance - $1 WHERE id = 1");
    workplace.write(
        "config.toml",
        r#"[query.transfer]
           draw = { amount = { uniform = [10, 30] } }
           isolation = "read committed"
           transaction = [
             { sql = "UPDATE accounts SET balance = balance + $1 WHERE id = 2", args = [{ drawn = "amount" }] },
             { file = "take.sql", args = [{ drawn = "amount" }] },
           ]"#,
    );
    for depth in ["1", "8"] {
        // It takes about 50 transfers to empty the first account; those that would overdraw it are refused.
        let ran = workplace.run(&["query", "transfer", "-n", "200", "-c", "2", "-d", depth, "--json"]);
        assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
        let report = ran.json();
        let refused = report["errors_by_sqlstate"]["23514"]["count"].as_u64().unwrap();
        assert!((1..200).contains(&refused), "{report:#}");
        let answered = report["workloads"][0]["answered"].as_u64().unwrap();
        assert_eq!(answered + refused, 200);
        let statements = report["workloads"][0]["statements"].as_array().unwrap();
        let sql: Vec<&str> = statements.iter().map(|statement| statement["sql"].as_str().unwrap()).collect();
        assert_eq!((sql[0], sql[3], sql.len()), ("BEGIN ISOLATION LEVEL read committed", "COMMIT", 4));
        assert!(statements.iter().all(|statement| statement["took_us"]["p99"].is_number()), "{report:#}");
        let sums = texts(&client, "SELECT sum(balance)::text FROM accounts").await;
        assert_eq!(sums, ["1000"], "depth {depth}");
        client.batch_execute("UPDATE accounts SET balance = 2000 - 1000 * id").await.unwrap();
    }
}

#[tokio::test]
async fn statements_are_given_to_the_server_as_asked() {
    let (workplace, client) = workplace("CREATE TABLE asked (query text, what text)").await;
    for (protocol, has_parameter) in [("prepared", true), ("unnamed", true), ("simple", false)] {
        let sql = "INSERT INTO asked SELECT current_query(), $1";
        let args = ["query", "--sql", sql, "--arg", r"it's \ 7", "--protocol", protocol, "-n", "9", "--json"];
        let report = workplace.succeed(&args).json();
        assert_eq!(report["load"]["protocol"], protocol);
        let row = client
            .query_one(
                "WITH gone AS (DELETE FROM asked RETURNING *) SELECT count(*), min(query), max(what), min(what) FROM gone",
                &[],
            )
            .await
            .unwrap();
        let (count, query, most, least): (i64, String, String, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        assert_eq!((count, most.as_str(), least.as_str()), (9, r"it's \ 7", r"it's \ 7"));
        assert_eq!(query.contains("$1"), has_parameter, "{protocol}: {query}");
    }
    // A prepared statement is there for the whole session, an unnamed one is not.
    let ask = |protocol: &str| {
        let sql = "SELECT count(*) > 0 FROM pg_prepared_statements WHERE statement LIKE '%42 = 42%'";
        let sql = format!("{sql} AND 42 = 42");
        let args = ["query", "--sql", &sql, "--expect-value", "true", "--protocol", protocol, "-n", "3"];
        workplace.run(&args).status.code()
    };
    assert_eq!(ask("prepared"), Some(0));
    let refused =
        workplace.fail(&["query", "--sql", "SELECT 1", "--protocol", "simple", "--sync-every", "4"], 2);
    assert!(refused.contains("--sync-every is for prepared statements"), "{refused}");
}

#[tokio::test]
async fn answers_are_compared_with_those_of_a_quiet_connection() {
    let (workplace, client) = workplace(
        "CREATE TABLE numbers (id int PRIMARY KEY, n int); INSERT INTO numbers SELECT i, i * 7 FROM generate_series(1, 50) i",
    )
    .await;
    workplace.write(
        "config.toml",
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
    assert!(ran.stdout.contains("NOT AS EXPECTED"), "{ran:#?}");

    // Arguments that look alike are told apart, and reading may begin with a comment or WITH.
    workplace.write("pairs.csv", "v,w\n\"a, b\",c\na,\"b, c\"\nNULL,x\n,x\n");
    let sql = "-- which\nWITH a AS (SELECT $1::text v, $2::text w) SELECT v, w FROM a";
    let pairs = ["query", "--sql", sql, "--arg", "csv:pairs.csv:v", "--arg", "csv:pairs.csv:w"];
    let report = workplace.succeed(&[&pairs[..], &["-n", "40", "--verify", "--json"]].concat()).json();
    assert_eq!((&report["checked"]["compared"], &report["load"]["sync_every"]), (&40.into(), &256.into()));

    // In whatever order the rows come.
    let shuffled = "SELECT i FROM generate_series(1, 5) i ORDER BY random()";
    workplace.succeed(&["query", "--sql", shuffled, "-n", "50", "--verify"]);

    // What the quiet connection is refused is no answer to compare with; in the run it is an error like any other.
    let divides = ["query", "--sql", "SELECT 10 / $1::int", "--arg", "uniform:0:4", "-n", "200", "--verify"];
    let report = workplace.succeed(&[&divides[..], &["--max-errors", "200", "--json"]].concat()).json();
    let refused = report["errors_by_sqlstate"]["22012"]["count"].as_u64().unwrap();
    assert!(refused > 0 && report["errors"] == refused, "{report:#}");
    assert_eq!(report["checked"]["compared"], 200 - refused, "{report:#}");
    assert_eq!(report["checked"]["different"], 0, "{report:#}");
    let once = "SELECT 1 / nextval('once')::int / (nextval('once') - 2)::int";
    client.batch_execute("CREATE SEQUENCE once MINVALUE 1").await.unwrap();
    let ran = workplace.run(&["query", "--sql", once, "-n", "3", "--verify", "--sync-every", "1", "-c", "1"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("--sql: succeeded, but failed before the run"), "{ran:#?}");
    let nothing = workplace.fail(&["query", "write", "-n", "5", "--verify"], 2);
    assert!(nothing.contains("--verify has nothing to compare"), "{nothing}");
    let endless = workplace.fail(&["query", "read", "--duration", "1s", "--verify"], 2);
    assert!(endless.contains("has to know how many there are"), "{endless}");
    drop(client);
}

#[tokio::test]
async fn answers_are_compared_with_what_is_expected() {
    let (workplace, _) = workplace("").await;
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

#[tokio::test]
async fn the_seed_decides_what_is_asked() {
    let (workplace, client) = workplace("CREATE TABLE asked (n int)").await;
    let insert =
        ["query", "--sql", "INSERT INTO asked VALUES ($1)", "--arg", "uniform:1:1000000000", "-n", "9"];
    let mut asked = Vec::new();
    for seed in ["1", "2", "1"] {
        workplace.succeed(&[&insert[..], &["--seed", seed, "-c", "3"]].concat());
        asked.push(texts(&client, "SELECT n::text FROM asked ORDER BY n").await);
        client.batch_execute("TRUNCATE asked").await.unwrap();
    }
    assert_eq!(asked[0], asked[2]);
    assert!(asked[0].iter().all(|n| !asked[1].contains(n)), "{asked:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_said_before_anything_is_asked() {
    let (workplace, client) = workplace("CREATE TABLE asked (id int); CREATE TABLE empty (id int)").await;
    workplace.write("nothing.csv", "id\n");
    workplace.write("latin1.csv", b"id\n1\n\xfc\n");
    workplace.write("late.csv", format!("id\n{}late\n", "1\n".repeat(300)));
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
    assert_eq!(texts(&client, "SELECT count(*)::text FROM asked").await, ["0"]);

    let many = workplace.fail(&["query", "--sql", "SELECT 1", "--arg", "1"], 2);
    assert!(many.contains("query --sql has 0 parameters but 1 argument"), "{many}");
    for (flags, message) in [
        (&["--rate", "0"][..], "expected queries a second"),
        (&["--duration", "5"], "write 500ms, 30s or 5m"),
        (&["--arrivals", "constant"], "--arrivals is for an open loop"),
        (&["--fail-if", "slower:5%"], "--fail-if compares with a saved run"),
        (&["--find-max"], "--find-max needs a bound"),
        (&["--sweep", "depth=3"], "expected connections=1,2,4"),
        (&["--sweep", "connections=1,2", "connections=3"], "--sweep maps one setting, or two different ones"),
        (&["--sweep", "connections=1,2", "--save", "x"], "--save is for a single run"),
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
    let twice = workplace.fail(&["query", "by-id", "by-id"], 2);
    assert!(twice.contains("workload by-id is named twice"), "{twice}");
}

#[tokio::test]
async fn workloads_that_contradict_themselves_are_named() {
    let (workplace, _) = workplace("").await;
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

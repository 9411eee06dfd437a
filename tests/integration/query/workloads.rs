//! `query`: which statements a workload sends, with which arguments.

use serde_json::Value;

use crate::support::workplace::Workplace;

#[tokio::test]
async fn a_mix_is_exact_for_any_number_of_connections() {
    let workplace = Workplace::with_sql("CREATE TABLE asked (who text, what int)")
        .await
        .config(
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
            workplace
                .values::<String>(
                    "WITH gone AS (DELETE FROM asked RETURNING *) SELECT gone::text FROM gone ORDER BY 1",
                )
                .await,
        );
    }
    assert_eq!(found[0], found[1], "the same seed sends the same queries");
    let seldom = found[0].iter().filter(|row| row.starts_with("(seldom")).count();
    assert_eq!(seldom, 100);
    let numbers: std::collections::BTreeSet<&String> =
        found[0].iter().filter(|row| row.starts_with("(seldom")).collect();
    assert_eq!(numbers.len(), 100, "the sequence counts the queries of its own workload");

    // The queries of a workload do not depend on those that it is mixed with.
    workplace.succeed(&["query", "often", "-n", "300"]);
    let alone = workplace.values::<String>("SELECT asked::text FROM asked ORDER BY 1").await;
    assert_eq!(alone[..], found[0][..300]);
}

#[tokio::test]
async fn arguments_of_every_distribution_arrive() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE asked (n bigint GENERATED ALWAYS AS IDENTITY, what text);
         CREATE TABLE places (city text); INSERT INTO places VALUES ('Rome'), ('Oslo'), (NULL)",
    )
    .await
    .csv("asked.csv", "id,city\n7,\"Rio, Brazil\"\n8,\n9,\"\"\n");
    let ask = async |arg: &str| {
        workplace.execute("TRUNCATE asked RESTART IDENTITY").await;
        let sql = "INSERT INTO asked (what) VALUES (coalesce($1::text, 'NULL'))";
        workplace.succeed(&["query", "--sql", sql, "--arg", arg, "-n", "60", "-c", "1", "-d", "1"]);
        workplace.values::<String>("SELECT what FROM asked ORDER BY n").await
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
async fn a_sample_of_a_column_does_not_depend_on_the_physical_order_of_its_rows() {
    let workplace = Workplace::with_sql(
            "CREATE TABLE asked (n bigint GENERATED ALWAYS AS IDENTITY, what int);
         CREATE TABLE numbers (n int); INSERT INTO numbers SELECT i % 50000 FROM generate_series(1, 100000) i",
        )
        .await;
    let mut samples = Vec::new();
    for _ in 0..2 {
        let sql = "INSERT INTO asked (what) VALUES ($1)";
        let args = ["query", "--sql", sql, "--arg", "column:numbers.n", "-n", "200", "-c", "1", "-d", "1"];
        workplace.succeed(&args);
        samples.push(workplace.values::<String>("SELECT what::text FROM asked ORDER BY n").await);
        for statement in ["TRUNCATE asked", "UPDATE numbers SET n = n WHERE n % 3 = 0", "VACUUM FULL numbers"]
        {
            workplace.execute(statement).await;
        }
    }
    assert_eq!(samples[0], samples[1]);
    let distinct: std::collections::BTreeSet<&String> = samples[0].iter().collect();
    assert!(distinct.len() > 190, "{} of 200", distinct.len());
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing_and_timed_by_statement() {
    let workplace = Workplace::with_sql(
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
        // About 50 transfers empty the first account; the server refuses those that would overdraw it.
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
        let sums = workplace.values::<String>("SELECT sum(balance)::text FROM accounts").await;
        assert_eq!(sums, ["1000"], "depth {depth}");
        workplace.execute("UPDATE accounts SET balance = 2000 - 1000 * id").await;
    }
}

#[tokio::test]
async fn statements_are_sent_with_the_protocol_asked_for() {
    let workplace = Workplace::with_sql("CREATE TABLE asked (query text, what text)").await;
    for (protocol, has_parameter) in [("prepared", true), ("unnamed", true), ("simple", false)] {
        let sql = "INSERT INTO asked SELECT current_query(), $1";
        let args = ["query", "--sql", sql, "--arg", r"it's \ 7", "--protocol", protocol, "-n", "9", "--json"];
        let report = workplace.succeed(&args).json();
        assert_eq!(report["load"]["protocol"], protocol);
        let row = workplace.client().query_one(
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
    // A prepared statement stays for the whole session, an unnamed one does not.
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
async fn the_seed_decides_the_arguments() {
    let workplace = Workplace::with_sql("CREATE TABLE asked (n int)").await;
    let insert =
        ["query", "--sql", "INSERT INTO asked VALUES ($1)", "--arg", "uniform:1:1000000000", "-n", "9"];
    let mut asked = Vec::new();
    for seed in ["1", "2", "1"] {
        workplace.succeed(&[&insert[..], &["--seed", seed, "-c", "3"]].concat());
        asked.push(workplace.values::<String>("SELECT n::text FROM asked ORDER BY n").await);
        workplace.execute("TRUNCATE asked").await;
    }
    assert_eq!(asked[0], asked[2]);
    assert!(asked[0].iter().all(|n| !asked[1].contains(n)), "{asked:?}");
}

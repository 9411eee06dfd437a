//! `load --on-conflict`: rows whose key is in the table already.

use crate::support::load::{MODES, csv_of, workplace};

#[tokio::test]
async fn rows_that_are_there_are_skipped_or_updated() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY, n int, other text DEFAULT 'kept')",
        "id,n\n1,10\n2,20\n3,30\n3,31\n",
    )
    .await;
    for mode in MODES {
        client.batch_execute("TRUNCATE t; INSERT INTO t VALUES (2, 0, 'old')").await.unwrap();
        let report = |action: &str| {
            let flags = ["load", "data.csv", "-t", "t", "--mode", mode, "--json", "--on-conflict", action];
            let report = workplace.succeed(&flags).json();
            ["rows_read", "rows_inserted", "rows_updated", "rows_skipped"]
                .map(|key| report[key].as_u64().unwrap())
        };
        assert_eq!(report("skip"), [4, 2, 0, 2], "{mode}");
        assert_eq!(
            csv_of(&client, "SELECT * FROM t ORDER BY id").await,
            "1,10,kept\n2,0,old\n3,30,kept\n",
            "{mode}"
        );
        client.batch_execute("DELETE FROM t WHERE id <> 2").await.unwrap();
        assert_eq!(report("update:id"), [4, 2, 2, 0], "{mode}");
        assert_eq!(
            csv_of(&client, "SELECT * FROM t ORDER BY id").await,
            "1,10,kept\n2,20,old\n3,31,kept\n",
            "{mode}"
        );
    }
    let message = workplace.fail(&["load", "data.csv", "-t", "t", "--on-conflict", "update:other"], 2);
    assert!(message.contains("the file has no column other"), "{message}");
}

/// A trigger that returns nothing ends a load; with --on-conflict skip it can only be named.
#[tokio::test]
async fn rows_that_a_trigger_swallows_are_not_passed_over() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY);
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END';
         CREATE TRIGGER swallow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing()",
        "id\n1\n2\n3\n",
    )
    .await;
    for mode in MODES {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode], 1);
        assert!(error.contains("the server inserted 2 of 3 rows into t"), "{mode}: {error}");
        let ran =
            workplace.succeed(&["load", "data.csv", "-t", "t", "--mode", mode, "--on-conflict", "skip"]);
        assert!(ran.stdout.contains("or by a BEFORE INSERT trigger: swallow"), "{mode}: {ran:#?}");
        client.batch_execute("DELETE FROM t").await.unwrap();
    }
}

/// Every row of a key that is twice in the file is written, and so checked, in its order.
#[tokio::test]
async fn a_bad_row_is_not_hidden_by_a_later_one_of_its_key() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL CHECK (v > 0))",
        "id,v\n1,-5\n1,\n1,7\n2,3\n1,8\n",
    )
    .await;
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--on-conflict", "update", "--mode", mode];
        let error = workplace.fail(&flags, 1);
        assert!(error.contains("t_v_check"), "{mode}: {error}");
        assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "0\n", "{mode}");
        let report = workplace.run(&[&flags[..], &["--max-rejects", "2", "--json"]].concat()).json();
        let counts =
            ["rows_inserted", "rows_updated", "rows_rejected"].map(|key| report[key].as_u64().unwrap());
        assert_eq!(counts, [2, 1, 2], "{mode}");
        assert_eq!(csv_of(&client, "SELECT * FROM t ORDER BY id").await, "1,8\n2,3\n", "{mode}");
        client.batch_execute("TRUNCATE t").await.unwrap();
    }
}

//! `load`: the columns of the file, matched to those of the table by name.

use crate::support::load::MODES;
use crate::support::workplace::Workplace;

#[tokio::test]
async fn columns_are_matched_by_name() {
    let workplace = Workplace::new().await.csv("people.csv", "AGE,\"Exact\",id\n30,x,1\n");
    workplace.execute("CREATE TABLE persons (id int, \"Exact\" text, age int2, other int DEFAULT 7)").await;
    for mode in MODES {
        workplace.succeed(&["load", "people.csv", "--mode", mode, "--truncate"]);
        let row =
            workplace.client().query_one("SELECT id, \"Exact\", age, other FROM persons", &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1), row.get(2), row.get(3)), (1_i32, "x", 30_i16, 7_i32), "{mode}");
    }
}

#[tokio::test]
async fn columns_are_named_renamed_and_ignored() {
    let workplace = Workplace::with_sql(
            "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, a int, b int DEFAULT 5, c int GENERATED ALWAYS AS (a) STORED)",
        )
        .await
        .csv("data.csv", "x,extra,ID\n1,?,10\n");
    let unknown = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(unknown.contains("the header names \"x\", \"extra\", which t does not have"), "{unknown}");
    assert!(unknown.contains("its columns are id, a, b, c"), "{unknown}");
    for mode in MODES {
        let flags =
            ["load", "data.csv", "-t", "t", "--map", "x=a", "--ignore-extra", "--truncate", "--mode", mode];
        let ran = workplace.succeed(&flags);
        assert!(ran.stdout.contains("ignored extra: not in the table"), "{ran:#?}");
        assert_eq!(workplace.csv_of("SELECT * FROM t").await, "10,1,5,1\n", "{mode}");
        workplace.write("bare.csv", "7,8\n");
        workplace.succeed(&[
            "load",
            "bare.csv",
            "-t",
            "t",
            "--no-header",
            "--columns",
            "b,a",
            "--truncate",
            "--mode",
            mode,
        ]);
        assert_eq!(workplace.csv_of("SELECT a, b, c FROM t").await, "8,7,8\n", "{mode}");
    }
    workplace.write("generated.csv", "c\n1\n");
    let generated = workplace.fail(&["load", "generated.csv", "-t", "t"], 1);
    assert!(generated.contains("c is a generated column"), "{generated}");
    let map = workplace.fail(&["load", "data.csv", "-t", "t", "--map", "y=a"], 2);
    assert!(map.contains("--map y=… names a column that data.csv does not have"), "{map}");
}

/// Names that differ only in case name two columns if the table has both, in either order.
#[tokio::test]
async fn names_that_fold_to_the_same_name_are_distinguished_or_refused() {
    let workplace = Workplace::with_sql(r#"CREATE TABLE t (id int); CREATE TABLE cased (id int, "ID" int)"#)
        .await
        .csv("data.csv", "Id,ID\n1,2\n");
    let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(
        error.contains("data.csv, line 1, column 2: the header names id twice, as Id and as ID"),
        "{error}"
    );
    let error = workplace.fail(&["load", "data.csv", "-t", "new", "--create"], 1);
    assert!(error.contains("column 2 of the new table is called id, as column 1 is: Id and ID"), "{error}");
    for header in ["Id,ID", "id,ID"] {
        workplace.write("data.csv", format!("{header}\n1,2\n"));
        workplace.succeed(&["load", "data.csv", "-t", "cased"]);
    }
    workplace.write("data.csv", "ID,id\n2,1\n");
    workplace.succeed(&["load", "data.csv", "-t", "cased"]);
    assert_eq!(workplace.csv_of("SELECT DISTINCT * FROM cased").await, "1,2\n");
}

/// Messages about names say where the names are from.
#[tokio::test]
async fn names_from_columns_are_not_said_to_be_from_the_header() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int, n int)").await.csv("data.csv", "1,2\n");
    let load = ["load", "data.csv", "-t", "t", "--no-header", "--columns"];
    let error = workplace.fail(&[&load[..], &["id,nonsense"]].concat(), 1);
    assert!(error.contains("--columns names \"nonsense\", which t does not have"), "{error}");
    let error = workplace.fail(&[&load[..], &["id,id"]].concat(), 1);
    assert!(error.contains("--columns names id twice"), "{error}");
}

/// A header with tens of thousands of names is matched by look-ups.
#[tokio::test]
async fn a_header_of_many_names_is_matched() {
    let extra: Vec<String> = (0..70_000).map(|number| format!("extra{number}")).collect();
    let values = ",".repeat(70_000);
    let csv = format!("id,{}\n1{values}\n", extra.join(","));
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", csv);
    workplace.succeed(&["load", "data.csv", "-t", "t", "--ignore-extra"]);
    assert_eq!(workplace.csv_of("SELECT id FROM t").await, "1\n");
}

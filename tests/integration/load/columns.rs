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
        assert!(ran.stdout.contains("ignored extra (not in the table)"), "{ran:#?}");
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
    workplace.succeed(&["load", "data.csv", "-t", "new", "--create"]);
    assert_eq!(workplace.csv_of("SELECT id, id_1 FROM new").await, "1,2\n");
    for header in ["Id,ID", "id,ID"] {
        workplace.write("data.csv", format!("{header}\n1,2\n"));
        workplace.succeed(&["load", "data.csv", "-t", "cased"]);
    }
    workplace.write("data.csv", "ID,id\n2,1\n");
    workplace.succeed(&["load", "data.csv", "-t", "cased"]);
    assert_eq!(workplace.csv_of("SELECT DISTINCT * FROM cased").await, "1,2\n");
}

/// PostgreSQL keeps 63 bytes of a name, in whole characters.
#[tokio::test]
async fn long_names_are_truncated_as_the_server_truncates_them() {
    let long = |name: &str| name.repeat(40);
    let (ascii, multibyte) = (long("abcde"), long("aé"));
    let csv = format!("id,{ascii},{multibyte}\n1,2,3\n");
    let workplace =
        Workplace::with_sql(&format!("CREATE TABLE t (id int, {ascii} int, \"{multibyte}\" int)"))
            .await
            .csv("data.csv", csv);
    workplace.succeed(&["load", "data.csv", "-t", "t", "--append"]);
    workplace.succeed(&["load", "data.csv", "-t", "t", "--append", "--map", &format!("{ascii}={ascii}")]);
    let created = workplace.succeed(&["load", "data.csv", "-t", "made", "--create"]);
    assert!(!created.stderr.contains("truncated"), "{created:#?}");
    for table in ["t", "made"] {
        assert_eq!(workplace.csv_of(&format!("SELECT DISTINCT * FROM {table}")).await, "1,2,3\n");
    }
    workplace.write("twice.csv", format!("{ascii}1,{ascii}2\n1,2\n"));
    workplace.succeed(&["load", "twice.csv", "-t", "twice", "--create"]);
    let query = format!("SELECT {}, {}_1 FROM twice", &ascii[..63], &ascii[..61]);
    assert_eq!(workplace.csv_of(&query).await, "1,2\n");
    let twice = workplace.fail(&["load", "twice.csv", "-t", "t"], 1);
    assert!(twice.contains("twice"), "{twice}");
}

/// As the first line of a matrix, or of a file with the wrong delimiter.
#[tokio::test]
async fn a_header_of_very_many_names_is_matched_and_refused_briefly() {
    let names: Vec<String> = (0..70_000).map(|number| format!("c{number}")).collect();
    let workplace = Workplace::with_sql("CREATE TABLE t (c7 int, c69999 int)")
        .await
        .csv("wide.csv", names.join(",") + "\n");
    let error = workplace.fail(&["load", "wide.csv", "-t", "t"], 1);
    assert!(error.contains("the header names \"c0\", \"c1\", "), "{error}");
    assert!(error.contains(" and 69978 more, which t does not have"), "{error}");
    workplace.write("wide.csv", format!("{}\n{}\n", names.join(","), vec!["1"; 70_000].join(",")));
    workplace.succeed(&["load", "wide.csv", "-t", "t", "--ignore-extra", "-q"]);
    assert_eq!(workplace.csv_of("SELECT * FROM t").await, "1,1\n");
}

#[tokio::test]
async fn an_unknown_name_of_columns_is_not_blamed_on_the_header() {
    let workplace = Workplace::with_sql("CREATE TABLE t (a int)").await.csv("data.csv", "x,y\n1,2\n");
    let error = workplace.fail(&["load", "data.csv", "-t", "t", "--columns", "a,b"], 1);
    assert!(error.contains("--columns names \"b\", which t does not have"), "{error}");
    let error = workplace.fail(&["load", "data.csv", "-t", "t", "--columns", "a,a"], 1);
    assert!(error.contains("--columns names a twice"), "{error}");
}

#[tokio::test]
async fn a_nul_in_the_header_is_named() {
    let workplace = Workplace::with_sql("CREATE TABLE t (a int)").await.csv("data.csv", "a,i\0d\n1,2\n");
    let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(error.contains("data.csv, line 1, column 2: the name of the column contains a NUL"), "{error}");
    assert!(error.contains("--encoding"), "{error}");
}

/// The first line is not what a header looks like, which the remedy takes up.
#[tokio::test]
async fn a_first_line_that_is_no_header_is_recognised() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int, name text)").await;
    for (content, remedy) in [
        ("5,b\n6,c\n", "if the first line is data, use --no-header"),
        ("{\"id\": 5}\n", "this looks like JSON: with an object on each line, load it with --format ndjson"),
        ("id;name\n5;b\n", "--delimiter ';'"),
        ("number,name\n5,b\n", "rename with --map, or skip with --ignore-extra"),
    ] {
        workplace.write("data.csv", content);
        let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
        assert!(error.contains(remedy), "{content}: {error}");
    }
    workplace.write("data.csv", "x,y\n1,2\n");
    let both = ["load", "data.csv", "-t", "t", "--columns", "id,name", "--map", "x=id"];
    let error = workplace.fail(&both, 2);
    assert!(error.contains("--map x=… names a column that --columns does not have"), "{error}");
}

/// `--select` takes the field of that name, and none of those whose columns only get their names from it.
#[tokio::test]
async fn a_selected_name_is_that_of_one_field() {
    let workplace = Workplace::new().await.csv("data.csv", "id,value,value,,ID\n1,2,3,4,5\n");
    let load = |select: &str, more: &[&str]| {
        workplace.run(&[&["load", "data.csv", "-t", "t", "--create", "--select", select], more].concat())
    };
    for (select, row) in [("id", "1\n"), ("ID", "5\n"), ("id,value_1", "1,3\n"), ("column4", "4\n")] {
        let ran = load(select, &["--replace"]);
        assert!(ran.status.success(), "{ran:#?}");
        assert_eq!(workplace.csv_of("SELECT * FROM t").await, row, "{select}");
        if select == "id" {
            assert!(ran.stdout.contains("  left out value, value, field 4 (column4)"), "{ran:#?}");
        }
    }
    let ran = load("id,value", &[]);
    let says = "--select names value, but data.csv has two such fields: field 2 (value) and field 3 (value)";
    assert!(ran.stderr.contains(says), "{ran:#?}");
    workplace.execute("DROP TABLE t; CREATE TABLE t (id int, column4 int)").await;
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--select", "id"]);
    assert!(!ran.stdout.contains("default"), "{ran:#?}");
}

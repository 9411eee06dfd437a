//! `load`: how records are read where files are not what COPY expects.

use serde_json::json;

use crate::support::load::{MODES, try_copy_csv};
use crate::support::workplace::Workplace;

/// A workplace with the empty tables `t` and `copied`.
async fn workplace() -> Workplace {
    Workplace::with_sql(
        "CREATE TABLE t (id int, name text DEFAULT 'none', n int); CREATE TABLE copied (LIKE t)",
    )
    .await
}

const ROWS: &str = "SELECT * FROM t ORDER BY id";

#[tokio::test]
async fn stray_quotes_are_counted_and_removed_kept_or_rejected() {
    let workplace = workplace().await;
    let text = "id,name,n\n1,37'37.8\"N 5\",2\n2,\"a\"\"b\",3\n3,\"c\"d,4\n4,\"e\",5\n";
    workplace.write("data.csv", text);
    try_copy_csv(&workplace, "copied", text.as_bytes()).await.unwrap();
    let expected =
        |kept: bool| json!({"count": 2, "first": {"file": "data.csv", "line": 2, "field": 2}, "kept": kept});
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--truncate", "--mode", mode, "--receipt", "load.json"];
        let ran = workplace.succeed(&flags);
        let says = "\n  quotes  2 fields have quotes inside, the first in data.csv, line 2, field 2; they were removed, see \
                    --stray-quotes\n";
        assert!(ran.stdout.contains(says), "{}", ran.stdout);
        assert_eq!(workplace.read_json("load.json")["stray_quotes"], expected(false));
        assert_eq!(workplace.content("t").await, workplace.content("copied").await, "{mode}");
        let keep = workplace.succeed(&[&flags[..], &["--stray-quotes", "keep", "--json"]].concat());
        assert_eq!(keep.json()["stray_quotes"], expected(true));
        let kept = workplace.values::<String>("SELECT name FROM t ORDER BY id").await;
        assert_eq!(kept, ["37'37.8\"N 5\"", "a\"b", "\"c\"d", "e"], "{mode}");
        let reject = [&flags[..], &["--stray-quotes", "reject"]].concat();
        let error = workplace.fail(&reject, 1);
        assert!(
            error.contains("data.csv, line 2: field 2 has a quote inside that does not enclose it"),
            "{error}"
        );
        let ran = workplace.run(&[&reject[..], &["--max-rejects", "2"]].concat());
        assert_eq!(ran.status.code(), Some(3), "{ran:#?}");
        assert_eq!(workplace.csv_of(ROWS).await, "2,\"a\"\"b\",3\n4,e,5\n");
        assert_eq!(workplace.read("rejects.csv"), "id,name,n\n1,37'37.8\"N 5\",2\n3,\"c\"d,4\n");
    }
    // One that is never closed takes no other row with it.
    workplace.write("data.csv", "id,name,n\n1,12\" disk,2\n2,tape,3\n");
    for flags in [&["--stray-quotes", "keep"][..], &["--quote", "none"]] {
        workplace.succeed(&[&["load", "data.csv", "-t", "t", "--truncate"], flags].concat());
        assert_eq!(workplace.csv_of(ROWS).await, "1,\"12\"\" disk\",2\n2,tape,3\n");
    }
}

#[tokio::test]
async fn lines_are_skipped_and_blank_ones_are_what_they_are_said_to_be() {
    let workplace = workplace().await;
    // As in PostgreSQL's own test copytest3.
    let junk = "this is just a line full of junk, \"that would error out if parsed\n";
    workplace.write("junk.csv", format!("{junk}1,a,1\n2,b,2\n"));
    let skip = ["load", "junk.csv", "-t", "t", "--truncate", "--skip-lines", "1", "--header", "no"];
    workplace.succeed(&skip);
    assert_eq!(workplace.csv_of(ROWS).await, "1,a,1\n2,b,2\n");
    workplace.write("junk.csv", format!("{junk}\r\n\r\nid,name,n\n1,a,1\nx,b,2\n3,c,3\n"));
    let error = workplace.fail(&["load", "junk.csv", "-t", "t", "--skip-lines", "3"], 1);
    assert!(error.contains("junk.csv, line 6, column 1 (id)"), "{error}");
    let reject = ["load", "junk.csv", "-t", "t", "--truncate", "--skip-lines", "3", "--max-rejects", "1"];
    assert_eq!(workplace.run(&reject).status.code(), Some(3));
    assert_eq!(workplace.csv_of(ROWS).await, "1,a,1\n3,c,3\n");
    // The same flags load the rejects, whatever the file is called then.
    assert_eq!(workplace.read("rejects.csv"), "\n\n\nid,name,n\nx,b,2\n");
    workplace.write("mended.csv", workplace.read("rejects.csv").replace('x', "2"));
    workplace.succeed(&["load", "mended.csv", "-t", "t", "--skip-lines", "3"]);
    assert_eq!(workplace.csv_of(ROWS).await, "1,a,1\n2,b,2\n3,c,3\n");
    // A byte order mark behind what was written in front of the file is still one.
    workplace.write("junk.csv", "junk\n\u{feff}id,name,n\n4,d,4\n");
    workplace.succeed(&["load", "junk.csv", "-t", "t", "--truncate", "--skip-lines", "1"]);
    assert_eq!(workplace.csv_of(ROWS).await, "4,d,4\n");

    workplace.execute("CREATE TABLE one (a text)").await;
    workplace.write("blank.csv", "\r\na\r\nx\r\n\r\n\"\"\r\n\r\n");
    for (flags, rows) in
        [(&["--header", "no"][..], "NULL,a,x,NULL,,NULL"), (&["--blank-lines", "skip"], "x,")]
    {
        workplace.succeed(&[&["load", "blank.csv", "-t", "one", "--truncate"], flags].concat());
        let found = "SELECT string_agg(coalesce(a, 'NULL'), ',' ORDER BY ctid) FROM one";
        assert_eq!(workplace.value::<String>(found).await, rows, "{flags:?}");
    }
    let error =
        workplace.fail(&["load", "blank.csv", "-t", "one", "--header", "no", "--blank-lines", "error"], 1);
    assert!(error.contains("blank.csv, line 1: the line is blank"), "{error}");
}

#[tokio::test]
async fn short_rows_are_padded_on_demand() {
    let workplace = workplace().await.csv("data.csv", "id,name,n\n1\n2,b\n3,c,3\n");
    let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(error.contains("line 2: 1 field, where 3 were expected") && error.contains("--pad"), "{error}");
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--truncate", "--mode", mode, "--pad", "--json"];
        assert_eq!(workplace.succeed(&flags).json()["rows_padded"], 2);
        // NULL, as the server would store an empty field, and not the default.
        assert_eq!(workplace.csv_of(ROWS).await, "1,,\n2,b,\n3,c,3\n", "{mode}");
    }
    for (bad, says) in [("1,a,2,3\n", "4 fields, where 3 were expected"), ("\n", "the line is empty")] {
        workplace.write("data.csv", format!("id,name,n\n{bad}"));
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--pad"], 1);
        assert!(error.contains(says), "{error}");
    }
    // A blank line becomes a row of NULLs only for those who say that it is a row.
    workplace.write("data.csv", "id,name,n\n1\n\n");
    let row = ["load", "data.csv", "-t", "t", "--truncate", "--pad", "--blank-lines", "row"];
    workplace.succeed(&row);
    assert_eq!(workplace.csv_of(ROWS).await, "1,,\n,,\n");
}

#[tokio::test]
async fn files_are_loaded_together_by_the_names_in_their_headers() {
    let workplace = workplace()
        .await
        .csv("a.csv", "id,name,n\n1,a,10\n")
        .csv("b.csv", "N,id,Name\n20,2,b\n")
        .csv("c.csv", "name,n\nc,30\n");
    for mode in MODES {
        workplace.succeed(&["load", "a.csv", "b.csv", "-t", "t", "--truncate", "--mode", mode]);
        assert_eq!(workplace.csv_of(ROWS).await, "1,a,10\n2,b,20\n", "{mode}");
        let union =
            ["load", "c.csv", "b.csv", "a.csv", "-t", "t", "--truncate", "--mode", mode, "--union-by-name"];
        let report = workplace.succeed(&[&union[..], &["--json"]].concat()).json();
        assert_eq!(report["files"].as_array().unwrap().len(), 3, "{report:#}");
        assert_eq!(workplace.csv_of(ROWS).await, "1,a,10\n2,b,20\n,c,30\n", "{mode}");
    }
    workplace.succeed(&["load", "b.csv", "a.csv", "-t", "new", "--create"]);
    assert_eq!(workplace.csv_of("SELECT n, id, name FROM new ORDER BY id").await, "10,1,a\n20,2,b\n");
    let error = workplace.fail(&["load", "a.csv", "c.csv", "-t", "t"], 1);
    assert!(
        error.contains("c.csv, line 1: the header is name,n") && error.contains("--union-by-name"),
        "{error}"
    );
    // The position of a value is that in its own file.
    workplace.write("b.csv", "N,id,Name\n20,x,b\n");
    let error = workplace.fail(&["load", "a.csv", "b.csv", "-t", "t"], 1);
    assert!(error.contains("b.csv, line 2, column 2 (id)"), "{error}");
    workplace.write("b.csv", "N,id,Name\n20,2\n");
    let error = workplace.fail(&["load", "a.csv", "b.csv", "-t", "t"], 1);
    assert!(error.contains("b.csv, line 2: 2 fields, where 3 were expected"), "{error}");
    let padded = workplace.succeed(&["load", "a.csv", "b.csv", "-t", "t", "--truncate", "--pad", "--json"]);
    assert_eq!(padded.json()["rows_padded"], 1);
    assert_eq!(workplace.csv_of(ROWS).await, "1,a,10\n2,,20\n");
    let ran = workplace.run_with_input(&["load", "-", "a.csv", "-t", "t", "--union-by-name"], "id\n1\n");
    assert!(ran.stderr.contains("--union-by-name reads all headers first"), "{ran:#?}");
}

/// Names that become the same column are the same name.
#[tokio::test]
async fn files_are_united_by_the_names_of_their_columns() {
    let workplace =
        Workplace::new().await.csv("a.csv", "Order ID,Note\n1,x\n").csv("b.csv", "n,order_id\n5,2\n");
    let flags = ["--union-by-name", "--names", "snake_case", "--create"];
    workplace.succeed(&[&["load", "a.csv", "b.csv", "-t", "t"], &flags[..]].concat());
    assert_eq!(workplace.csv_of("SELECT order_id, note, n FROM t ORDER BY 1").await, "1,x,\n2,,5\n");
}

/// Each row stands under the header of its own file, so that it can be loaded again.
#[tokio::test]
async fn rejects_of_files_with_other_headers_stand_under_their_own() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int UNIQUE, name text, n int)")
        .await
        .csv("a.csv", "id,name,n\n1,a,10\nx,a,11\n")
        .csv("b.csv", "n,ID\n20,2\n21,1\ny,3\n");
    let all = "1,a,10\n2,,20\n3,,21\n4,a,11\n5,,22\n";
    for mode in MODES {
        for stale in ["rejects.csv", "rejects.2.csv"] {
            let _ = std::fs::remove_file(workplace.path(stale));
        }
        let load = ["load", "a.csv", "b.csv", "-t", "t", "--truncate", "--union-by-name", "--mode", mode];
        let ran = workplace.run(&[&load[..], &["--max-rejects", "3"]].concat());
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        let says = "  rejects rejects.csv, rejects.2.csv, reasons in rejects.log.jsonl\n";
        assert!(ran.stdout.contains(says), "{}", ran.stdout);
        assert_eq!(workplace.read("rejects.csv"), "id,name,n\nx,a,11\n", "{mode}");
        assert_eq!(workplace.read("rejects.2.csv"), "n,ID\n21,1\ny,3\n", "{mode}");
        let log = workplace.read("rejects.log.jsonl");
        let log: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found =
            |index: usize| (log[index]["file"].as_str().unwrap(), log[index]["value"].as_str().unwrap());
        assert_eq!([found(0), found(1), found(2)], [("a.csv", "x"), ("b.csv", "1"), ("b.csv", "y")]);
        workplace.write("rejects.csv", "id,name,n\n4,a,11\n");
        workplace.write("rejects.2.csv", "n,ID\n21,3\n22,5\n");
        workplace.succeed(&["load", "rejects.csv", "rejects.2.csv", "-t", "t", "--union-by-name"]);
        assert_eq!(workplace.csv_of(ROWS).await, all, "{mode}");
    }
    // A file that exists, which may be an input, is not replaced: only the first name was chosen.
    workplace.write("rejects.2.csv", "kept");
    let load = ["load", "a.csv", "b.csv", "-t", "t", "--truncate", "--union-by-name", "--max-rejects", "3"];
    assert_eq!(workplace.run(&load).status.code(), Some(3));
    assert_eq!(workplace.read("rejects.2.csv"), "kept");
    assert_eq!(workplace.read("rejects.3.csv"), "n,ID\n21,1\ny,3\n");
}

/// A file that has all columns of the union still has a header of its own.
#[tokio::test]
async fn rejects_of_a_file_with_all_columns_stand_under_its_header() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int, name text, n int)")
        .await
        .csv("a.csv", "id,name\n1,a\n")
        .csv("b.csv", "id,name,n\nx,b,20\n");
    let load = ["load", "a.csv", "b.csv", "-t", "t", "--union-by-name", "--max-rejects", "1"];
    assert_eq!(workplace.run(&load).status.code(), Some(3));
    assert_eq!(workplace.read("rejects.csv"), "id,name,n\nx,b,20\n");
}

//! `load --create`: a table made to fit the file.

use crate::support::workplace::{ProgramOutput, Workplace};

/// The beginning of a pipe is buffered until the table has been created.
#[tokio::test]
async fn a_table_is_created_for_standard_input() {
    let workplace = Workplace::new().await.csv("data.csv", "id,day\n1,2021-02-03\n2,\n");
    let file = std::fs::File::open(workplace.path("data.csv")).unwrap();
    let mut command = workplace.command(&["load", "-", "-t", "t", "--create", "--json"]);
    command.stdin(file);
    let ran = ProgramOutput::from_command(command);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(ran.json()["path"], "standard input");
    assert_eq!(workplace.csv_of("SELECT day + 1, id FROM t").await, "2021-02-04,1\n,2\n");
}

#[tokio::test]
async fn a_table_is_created_for_a_file() {
    let workplace = Workplace::new()
        .await
        .csv(
            "data.csv",
            "Id,zip,amount,day,at,ok,\"Full name\"\n1,01234,1.50,2021-01-02,2021-01-02 03:04:05,true,x\n2,98765,-2.25,2021-01-03,,f,\n",
        );
    let ddl = workplace.succeed(&["load", "data.csv", "-t", "made", "--ddl-only"]).stdout;
    insta::assert_snapshot!(ddl, @r#"
    CREATE TABLE "made" (
        "id" integer,
        "zip" text,
        "amount" numeric,
        "day" date,
        "at" timestamp,
        "ok" boolean,
        "Full name" text
    );
    "#);
    assert!(workplace.fail(&["load", "data.csv", "-t", "made"], 1).contains("there is no table made"));
    workplace.execute("CREATE TABLE \"Orders\" (); CREATE SCHEMA shop; CREATE TABLE shop.sold ()").await;
    for (name, meant) in [
        ("orders", "\"Orders\" exists; or create it"),
        ("sold", "shop.sold exists; or "),
        ("shop.sole", "shop.sold exists; or "),
    ] {
        let error = workplace.fail(&["load", "data.csv", "-t", name], 1);
        assert!(error.contains(meant), "{error}");
    }
    let ran = workplace.succeed(&["load", "data.csv", "-t", "made", "--create"]);
    assert!(ran.stderr.contains("\"zip\" text"), "{ran:#?}");
    assert_eq!(workplace.csv_of("SELECT id, zip, amount FROM made").await, "1,01234,1.50\n2,98765,-2.25\n");
    // The table exists now, so the rows are appended.
    workplace.succeed(&["load", "data.csv", "-t", "made", "--create"]);
    assert_eq!(workplace.count("made").await, 4);
    workplace.write("data.csv", "only\nx\n");
    workplace.succeed(&["load", "data.csv", "-t", "made", "--create", "--replace"]);
    assert_eq!(workplace.csv_of("SELECT * FROM made").await, "x\n");
    // A load that fails leaves no table behind.
    workplace.write("bad.csv", "a,b\n1,2\n3\n");
    workplace.fail(&["load", "bad.csv", "-t", "gone", "--create"], 1);
    assert_eq!(workplace.csv_of("SELECT to_regclass('gone') IS NULL").await, "t\n");
}

#[tokio::test]
async fn a_header_of_one_name_suggests_another_delimiter() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int, n int)").await.csv("data.csv", "id;n\n1;2\n");
    for flags in [&["-t", "t"][..], &["-t", "new", "--create"]] {
        let error = workplace.fail(&[&["load", "data.csv"], flags].concat(), 1);
        assert!(error.contains("--delimiter ';', or --sniff"), "{error}");
    }
    workplace.succeed(&["load", "data.csv", "-t", "new", "--create", "--sniff"]);
    let ran = workplace.succeed(&["load", "data.csv", "-t", "new", "--create", "--sniff"]);
    assert!(ran.stderr.contains("new already exists; appending (--create ignored)"), "{ran:#?}");
}

/// A single value turns a column into text, so that nothing is lost; it is named for users who would rather reject
/// its row.
#[tokio::test]
async fn the_value_that_turns_a_column_into_text_is_named() {
    let workplace = Workplace::new().await.csv("data.csv", "id,name\n1,Ann\n2,7\nn/a,Bo\n?,Cy\n");
    let flags = ["load", "data.csv", "-t", "t", "--create", "--replace"];
    let says = "id is text because of \"n/a\" in data.csv, line 4; until then integer\n";
    let ran = workplace.succeed(&[&flags[..], &["--max-rejects", "2"]].concat());
    assert!(ran.stderr.ends_with(&format!(");\n{says}")), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 4);
    assert!(workplace.succeed(&flags).stderr.ends_with(");\n"));
}

/// Names as R and spreadsheets write them; a second load finds the columns that the first one made.
#[tokio::test]
async fn names_that_no_column_can_have_are_made_good() {
    let long = "x".repeat(70);
    let header = format!("\"\",\"Speed\",dist,dist,{long},1960,\"\"\n");
    let workplace = Workplace::new().await.csv("data.csv", header + "\"1\",4,2,3,5,6,\n");
    let load = ["load", "data.csv", "-t", "t", "--create"];
    let ran = workplace.succeed(&load);
    let made: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("  names")).collect();
    assert_eq!(
        made,
        [
            "  names   field 1 has no name: its column is column1",
            "  names   field 4 has the name of another, dist: its column is dist_1",
            &format!(
                "  names   field 5 has a name longer than PostgreSQL's, {long}: its column is {}",
                &long[..63]
            ),
            "  names   field 7 has no name: its column is column7",
        ]
    );
    let report = workplace.succeed(&[&load[..], &["--json"]].concat()).json();
    assert_eq!(report["names_made"][1]["because"], "doubled");
    let query = format!("SELECT column1, speed, dist, dist_1, {}, \"1960\", column7 FROM t", &long[..63]);
    assert_eq!(workplace.csv_of(&query).await, "1,4,2,3,5,6,\n1,4,2,3,5,6,\n");
    let flags = ["--columns", "a,b,c,\"D\",e,f,", "--map", "f=\"F f\"", "--ignore-extra", "--ddl-only"];
    let ddl = workplace.succeed(&[&["load", "data.csv", "-t", "u"], &flags[..]].concat()).stdout;
    assert!(ddl.contains("\"D\" integer,\n    \"e\" integer,\n    \"F f\" integer\n)"), "{ddl}");
}

/// What is read as another type is reported, and loaded in every mode with the value that it was read as.
#[tokio::test]
async fn natural_types_are_reported_and_loaded_in_every_mode() {
    let workplace = Workplace::new().await.csv(
        "data.csv",
        "n,ok,us,de,at,ymd,t,x,zip,amb,price\n\
         1,Yes,1/31/2026,31.12.2026,31/12/2026 1:05 PM,2012/1/2,12:30,1e-5,007,1/2/2026,1\n \
         2,NO,12/1/2026,1.2.2026,1/2/2026 12:00 am,2012/03/04,23:59:59.5,NaN,2.2.20,2/2/2026,.5\n",
    );
    let ddl =
        workplace.succeed(&["load", "data.csv", "-t", "t", "--ddl-only", "--type", "price=numeric(9,2)"]);
    insta::assert_snapshot!(ddl.stdout, @r#"
    CREATE TABLE "t" (
        "n" integer,
        "ok" boolean,
        "us" date,
        "de" date,
        "at" timestamp,
        "ymd" date,
        "t" time,
        "x" double precision,
        "zip" text,
        "amb" text,
        "price" numeric(9,2)
    );
    "#);
    let flags = [
        "--create",
        "--replace",
        "--add-column",
        "src=@file",
        "--add-column",
        "who=me",
        "--type",
        "who=varchar(9)",
    ];
    for mode in ["rows", "batch", "copy"] {
        let ran = workplace.succeed(&[&["load", "data.csv", "-t", "t", "--mode", mode], &flags[..]].concat());
        assert!(ran.stderr.contains("amb is text because its dates, such as \"1/2/2026\""), "{ran:#?}");
        let said: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("  inferred")).collect();
        assert_eq!(
            said[0],
            "  inferred n integer: 1 value has blanks around them, first \" 2\" in data.csv, line 3"
        );
        assert!(
            said[3].starts_with("  inferred de date, read as day, month, year: 2 values have a date"),
            "{said:?}"
        );
        assert_eq!(
            workplace.csv_of("SELECT * FROM t ORDER BY n").await,
            "1,t,2026-01-31,2026-12-31,2026-12-31 13:05:00,2012-01-02,12:30:00,1e-05,007,1/2/2026,1,data.csv,me\n\
             2,f,2026-12-01,2026-02-01,2026-02-01 00:00:00,2012-03-04,23:59:59.5,NaN,2.2.20,2/2/2026,0.5,data.csv,me\n",
            "{mode}"
        );
    }
    let exact = workplace.succeed(&["load", "data.csv", "-t", "t", "--ddl-only", "--infer", "exact"]).stdout;
    assert_eq!(exact.matches(" text").count(), 11, "{exact}");
    // After the rows from which the types were inferred.
    workplace.write("more.csv", "d\n31/12/2026\n12/31/2026\n");
    let error = workplace.fail(&["load", "more.csv", "-t", "u", "--create", "--infer-rows", "1"], 1);
    assert!(
        error.contains("cannot read \"12/31/2026\" as date: expected a date as day, month, year"),
        "{error}"
    );
}

/// A first record of values would be lost as names, in silence.
#[tokio::test]
async fn a_header_that_seems_to_be_a_row_is_named() {
    let workplace = Workplace::new().await.csv("data.csv", "1,2\n3,4\n5,6\n").csv("named.csv", "id,n\n3,4\n");
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--create"]);
    assert!(ran.stderr.contains("the first record of data.csv is taken for names, but"), "{ran:#?}");
    assert!(ran.stderr.contains("--no-header"), "{ran:#?}");
    for flags in [&["named.csv"][..], &["data.csv", "--no-header", "--columns", "a,b"]] {
        let ran = workplace.succeed(&[&["load", "-t", "u", "--create", "--replace"], flags].concat());
        assert!(!ran.stderr.contains("is taken for names"), "{ran:#?}");
    }
}

/// A name that was made for a column is its name from then on.
#[tokio::test]
async fn names_that_were_made_can_be_used() {
    let workplace = Workplace::new().await.csv("r.csv", "\"\",\"speed\",\"speed\"\n\"1\",4,2\n\"2\",7,4\n");
    let create = ["load", "r.csv", "-t", "t", "--create"];
    workplace.succeed(&create);
    let rows = "1,4,2\n2,7,4\n";
    assert_eq!(workplace.csv_of("SELECT column1, speed, speed_1 FROM t ORDER BY 1").await, rows);
    for again in [&create[..], &create[..4]] {
        workplace.succeed(&[again, &["--truncate"]].concat());
        assert_eq!(workplace.csv_of("SELECT column1, speed, speed_1 FROM t ORDER BY 1").await, rows);
    }
    for (flags, columns, rows) in [
        (&["--map", "column1=id"][..], "id, speed_1", "1,2\n2,4\n"),
        (&["--select", "speed_1,column1"], "column1, speed_1", "1,2\n2,4\n"),
        (&["--type", "column1=numeric(4,2)"], "column1, speed", "1.00,4\n2.00,7\n"),
        (&["--map", "column1=id", "--select", "column1"], "*", "1\n2\n"),
    ] {
        let create = ["load", "r.csv", "-t", "u", "--create", "--replace"];
        workplace.succeed(&[&create[..], flags].concat());
        let query = format!("SELECT {columns} FROM u ORDER BY 1");
        assert_eq!(workplace.csv_of(&query).await, rows, "{flags:?}");
        if !flags.contains(&"--type") {
            workplace.succeed(&[&["load", "r.csv", "-t", "u", "--truncate"], flags].concat());
            assert_eq!(workplace.csv_of(&query).await, rows, "{flags:?}");
        }
    }
    let error = workplace.fail(&["load", "r.csv", "-t", "t", "--select", "column2"], 2);
    assert!(error.contains("it has column1, speed, speed_1"), "{error}");
}

/// What is added is spelled and named as the files are, and none of their columns.
#[tokio::test]
async fn added_columns_are_spelled_as_the_files_are() {
    let workplace = Workplace::new().await.csv("data.csv", "id\n1\n");
    let spelled = ["--decimal", ",", "--true", "ja", "--names", "snake_case"];
    let added = ["--add-column", "Tax Rate=1,5", "--add-column", "isOpen=ja"];
    let create = ["load", "data.csv", "-t", "t", "--create"];
    workplace.succeed(&[&create[..], &spelled, &added].concat());
    workplace.succeed(&[&create[..4], &spelled, &added].concat());
    let query = "SELECT tax_rate, is_open, pg_typeof(tax_rate), pg_typeof(is_open) FROM t";
    assert_eq!(workplace.csv_of(query).await, "1.5,t,numeric,boolean\n".repeat(2));
    for (flags, expected) in [
        (&["--add-column", "ID=7"][..], "--add-column ID=7: the column is already loaded"),
        (&["--add-column", "a=1", "--add-column", "A=2"], "--add-column A=2: the column is already loaded"),
    ] {
        let error = workplace.fail(&[&["load", "data.csv", "-t", "u", "--create"], flags].concat(), 2);
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn the_report_names_what_made_a_column_text() {
    let workplace = Workplace::new().await.csv("data.csv", "n,s,j\n1,a,1\n2,b,2\nabc,c,3\n");
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--create"]);
    let says = "  inferred n text: the first value that is not integer is \"abc\" in data.csv, line 4\n";
    assert!(ran.stdout.contains(says) && !ran.stdout.contains("inferred s"), "{ran:#?}");
    let report =
        workplace.succeed(&["load", "data.csv", "-t", "t", "--create", "--replace", "--json"]).json();
    let cause = &report["inferred"][0]["text_because"];
    assert_eq!((&cause["line"], &cause["until_then"]), (&4.into(), &"integer".into()), "{report:#}");
}

/// Dates that were inferred to begin with the day are not read in another order later.
#[tokio::test]
async fn a_file_of_dates_is_appended_as_it_was_created_or_refused() {
    let workplace = Workplace::new().await.csv("data.csv", "d\n1/2/2026\n31/12/2026\n");
    workplace.succeed(&["load", "data.csv", "-t", "t", "--create"]);
    let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(error.contains("write day, month and year: --date-style dmy"), "{error}");
    workplace.succeed(&["load", "data.csv", "-t", "t", "--date-style", "dmy"]);
    assert_eq!(
        workplace.csv_of("SELECT d, count(*) FROM t GROUP BY d ORDER BY d").await,
        "2026-02-01,2\n2026-12-31,2\n"
    );
}

/// What double precision would round is numeric, and what PostgreSQL would round is text.
#[tokio::test]
async fn numbers_and_times_keep_every_digit() {
    let workplace = Workplace::new().await.csv(
        "data.csv",
        "big,mixed,exp,at,t,fine,odd\n\
         12345678901234567890,0.1234567890123456789,1e5,2026-01-02 03:04:05.1200000,07:00:00.0000000,1.50,07:00:00.0000001\n\
         -1,6.5E-4,2.5,2026-01-02 03:04:06,08:30:00.123456000,1e-3,08:30:00\n",
    );
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) FROM pg_attribute \
                 WHERE attrelid = 't'::regclass AND attnum > 0";
    for mode in ["rows", "batch", "copy"] {
        let ran =
            workplace.succeed(&["load", "data.csv", "-t", "t", "--create", "--replace", "--mode", mode]);
        assert_eq!(
            workplace.value::<String>(types).await,
            "numeric,numeric,double precision,timestamp without time zone,time without time zone,double precision,text"
        );
        assert_eq!(
            workplace.csv_of("SELECT * FROM t ORDER BY t").await,
            "12345678901234567890,0.1234567890123456789,100000,2026-01-02 03:04:05.12,07:00:00,1.5,07:00:00.0000001\n\
             -1,0.00065,2.5,2026-01-02 03:04:06,08:30:00.123456,0.001,08:30:00\n",
            "{mode}"
        );
        for says in [
            "inferred mixed numeric: 1 value has an exponent",
            "inferred at timestamp: 1 value has a T, an offset from UTC, or final zeros of a fraction",
            "inferred fine double precision: 1 value has final zeros of a fraction",
        ] {
            assert!(ran.stdout.contains(says), "{says}: {}", ran.stdout);
        }
    }
}

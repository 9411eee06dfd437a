//! `load --sniff` and `--header auto`: files are read rightly, or refused.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::workplace::Workplace;

/// A workplace with the empty table `persons`.
async fn workplace() -> Workplace {
    Workplace::with_sql("CREATE TABLE persons (id text, name text)").await
}

#[tokio::test]
async fn a_sniffed_dialect_is_printed_as_flags_and_used() {
    let workplace = workplace().await;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(b"3|a\n4|b\n").unwrap();
    workplace.write("p.csv.gz", gzip.finish().unwrap());
    workplace.write("empty.csv", "");
    for (file, flags, input, says, rows) in [
        (
            "-",
            &[][..],
            &b"id;name\r\n1;\"Zo\xeb; x\"\r\n2;y\r\n"[..],
            "sniffed: --delimiter ';' --encoding windows-1252  # ",
            "1,Zoë; x\n2,y\n",
        ),
        ("p.csv.gz", &[], b"", "--delimiter '|' --no-header  # 2 fields in 2 records, 100 %", "3,a\n4,b\n"),
        (
            "-",
            &["--delimiter", ";"],
            b"id;name\n1,5;a\n2,5;b\n",
            "--delimiter ';'  # ",
            "\"1,5\",a\n\"2,5\",b\n",
        ),
        ("-", &["--header", "no"], b"id;name\n1;a\n", "--no-header  # ", "1,a\nid,name\n"),
        ("-", &[], b"id,name\n1,12\" disk\n2,x\n", "--quote none", "1,\"12\"\" disk\"\n2,x\n"),
    ] {
        let arguments = [&["load", "empty.csv", file, "-t", "persons", "--sniff"], flags].concat();
        let ran = workplace.run_with_input(&arguments, input);
        assert!(ran.status.success() && ran.stderr.contains(says), "{flags:?} {ran:#?}");
        assert_eq!(workplace.csv_of("SELECT * FROM persons ORDER BY 1").await, rows, "{flags:?}");
        workplace.execute("TRUNCATE persons").await;
    }
}

/// What looks the same in every record is settled by the names of the table's columns, or not at all.
#[tokio::test]
async fn the_table_decides_whether_there_is_a_header() {
    let workplace = workplace()
        .await
        .csv("named.csv", "NAME,ID\nann,rome\nbo,oslo\n")
        .csv("other.csv", "ann,rome\nbo,oslo\n")
        .csv("data.csv", "1,2\n3,4\n");
    for mode in ["copy", "rows"] {
        for flag in [&["--sniff"][..], &["--header", "auto"]] {
            let load = |file, more: &[&str]| {
                workplace.run(&[&["load", file, "-t", "persons", "--mode", mode], flag, more].concat())
            };
            let ran = load("named.csv", &[]);
            assert!(ran.status.success(), "{ran:#?}");
            assert!(load("data.csv", &[]).status.success());
            let rows = workplace.csv_of("SELECT name, id FROM persons ORDER BY name").await;
            assert_eq!(rows, "2,1\n4,3\nann,rome\nbo,oslo\n");
            let ran = load("other.csv", &[]);
            assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
            let says = "other.csv: whether the first record is a header cannot be told, because it looks like the records \
                        below it:\n  ann | rome\n  bo | oslo\n  help: say so: add --header yes, or --header no\n";
            assert!(ran.stderr.ends_with(says), "{}", ran.stderr);
            workplace.execute("TRUNCATE persons").await;
        }
    }
    workplace.succeed(&["load", "other.csv", "-t", "persons", "--sniff", "--header", "no"]);
    assert_eq!(workplace.count("persons").await, 2);
    let ran = workplace.run(&["check", "other.csv", "-t", "persons", "--sniff"]);
    assert!(ran.stdout.contains("BAD  other.csv: whether the first record is a header"), "{ran:#?}");
    // A new table has no names yet.
    let error = workplace.fail(&["load", "other.csv", "-t", "new", "--create", "--sniff"], 1);
    assert!(error.contains("whether the first record is a header cannot be told"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_clear_is_refused_with_both_readings() {
    let workplace = workplace().await.csv("names.csv", "Ann Lee\nBo Ray\nCy Fox\n");
    let error = workplace.fail(&["load", "names.csv", "-t", "persons", "--sniff"], 1);
    let expected = "error: names.csv: two dialects fit about equally well
  delimiter  quote  escape  header   columns  confidence  first record
  ,          \"      \"       unclear  1        75 %        Ann Lee
  space      \"      \"       unclear  2        70 %        Ann | Lee
  help: say how it is written, with ";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(workplace.count("persons").await, 0);
}

/// Words and numbers above their like may be names: only the user can tell.
#[tokio::test]
async fn a_header_with_numbers_is_not_loaded_as_a_row() {
    let workplace = Workplace::with_sql("CREATE TABLE g (a text, b numeric, c numeric, d numeric)")
        .await
        .csv("genes.csv", "gene,10,20,50\nBRCA1,0.5,0.7,0.1\nTP53,0.2,0.1,0.4\n");
    let error = workplace.fail(&["load", "genes.csv", "-t", "g", "--sniff"], 1);
    let says = "because its numbers may be names of columns, or values as below them:\n  gene | 10 | 20 | 50\n  \
                BRCA1 | 0.5 | 0.7 | 0.1\n  help: say so: add --header yes, or --header no";
    assert!(error.contains(says), "{error}");
    assert_eq!(workplace.count("g").await, 0);
    workplace.succeed(&["load", "genes.csv", "-t", "g", "--sniff", "--header", "no"]);
    assert_eq!(workplace.count("g").await, 3);
}

/// A quote that the sample does not show swallows no rows.
#[tokio::test]
async fn stray_quotes_after_the_sample_are_not_taken_for_quotes() {
    let workplace = workplace().await;
    let text = "id,name\n".to_owned() + &"n,tape\n".repeat(160_000) + &"n,12\" disk\n".repeat(4);
    workplace.write("big.csv", text);
    let load = ["load", "big.csv", "-t", "persons", "--sniff"];
    let error = workplace.fail(&load, 1);
    for says in ["big.csv, line 160002, field 2: a quote within", "--quote none", "--stray-quotes keep"] {
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(workplace.count("persons").await, 0);
    for (flags, rows) in [
        (&["--quote", "none"][..], 160_004),
        (&["--stray-quotes", "keep"], 160_004),
        (&["--quote", "\""], 160_002),
    ] {
        workplace.succeed(&[&load, flags, &["--truncate"]].concat());
        assert_eq!(workplace.count("persons").await, rows, "{flags:?}");
    }
}

/// What is sniffed is what the report says of the values.
#[tokio::test]
async fn sniffed_stray_quotes_are_reported_as_kept() {
    let workplace = workplace().await.csv("p.csv", "id,name\n1,\"a, b\"\n2,12\" disk\n3,tape\n");
    let load = ["load", "p.csv", "-t", "persons", "--sniff", "--truncate"];
    for flags in [&["--mode", "copy"][..], &["--mode", "rows"], &["--threads", "2"], &["--create"]] {
        let ran = workplace.succeed(&[&load[..], flags, &["--receipt", "load.json"]].concat());
        assert!(
            ran.stderr.contains("--stray-quotes keep") && ran.stdout.contains("they were kept"),
            "{ran:#?}"
        );
        let receipt = workplace.read_json("load.json");
        assert_eq!(
            (&receipt["stray_quotes"]["kept"], &receipt["stray_quotes"]["count"]),
            (&true.into(), &1.into())
        );
        let rows = workplace.csv_of("SELECT * FROM persons ORDER BY id").await;
        assert_eq!(rows, "1,\"a, b\"\n2,\"12\"\" disk\"\n3,tape\n");
    }
}

/// The dialect of the first file is that of all, or none of them is loaded.
#[tokio::test]
async fn every_file_is_compared_with_the_first() {
    let workplace = workplace()
        .await
        .csv("a1.csv", "id;name\n1;Ann\n")
        .csv("a3.csv", "id;name\n")
        .csv("b.csv", "id,name\n7,Di\n");
    let gzip = |text: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    };
    workplace.write("a2.csv.gz", gzip(b"name;id\n\"Bo;Co\";2\n"));
    workplace.write("c.csv.gz", gzip(b"id\tname\n8\tEd\n"));
    for flags in [&["--create"][..], &["--mode", "rows"]] {
        workplace.succeed(&[&["load", "a*", "-t", "persons", "--sniff", "--truncate"], flags].concat());
        assert_eq!(workplace.csv_of("SELECT * FROM persons ORDER BY id").await, "1,Ann\n2,Bo;Co\n");
    }
    for (files, says) in [
        (
            &["a1.csv", "b.csv"][..],
            "b.csv: its dialect is --delimiter ',', but that of a1.csv is --delimiter ';'",
        ),
        (&["a1.csv", "c.csv.gz"], "c.csv.gz: its dialect is --delimiter tab, but that of a1.csv is"),
        (&["a1.csv", "-"], "standard input: its dialect is --delimiter ',', but that of a1.csv is"),
    ] {
        for flags in [&["-t", "persons", "--truncate"][..], &["-t", "new", "--create"]] {
            let ran = workplace
                .run_with_input(&[&["load"], files, flags, &["--sniff"]].concat(), "id,name\n9,Flo\n");
            assert_eq!(ran.status.code(), Some(1), "{files:?} {ran:#?}");
            assert!(
                ran.stderr.contains(says) && ran.stderr.contains("load files of different dialects"),
                "{}",
                ran.stderr
            );
        }
    }
    assert_eq!(workplace.count("persons").await, 2);
}

#[tokio::test]
async fn a_file_that_begins_with_blank_lines_is_read() {
    let workplace = workplace().await.csv("p.csv", "\n\nid,name\n1,Ann\n2,x\n");
    let ran = workplace.succeed(&["load", "p.csv", "-t", "persons", "--sniff"]);
    assert!(ran.stderr.contains("sniffed: --delimiter ',' --skip-lines 2  # "), "{ran:#?}");
    assert_eq!(workplace.csv_of("SELECT * FROM persons ORDER BY id").await, "1,Ann\n2,x\n");
}

/// Nobody is told to do what they have done.
#[tokio::test]
async fn sniffing_is_no_remedy_for_what_was_sniffed() {
    let workplace = workplace().await.csv("p.csv", "1;2\n3;4\n7;8\n5,6\n");
    let error = workplace.fail(&["load", "p.csv", "-t", "persons", "--sniff"], 1);
    assert!(!error.contains("or --sniff"), "{error}");
    let error = workplace.fail(&["load", "p.csv", "-t", "persons", "--delimiter", ";", "--no-header"], 1);
    assert!(error.contains("or --sniff"), "{error}");
}

/// What is given is not detected, even if it is what would be read without it.
#[tokio::test]
async fn a_given_value_is_not_replaced_by_a_detected_one() {
    let workplace = workplace()
        .await
        .csv("quotes.csv", "id,name\n1,\"a, b\"\n2,12\" disk 2\"\n3,tape\n")
        .csv("pairs.csv", "id,name\n1,12\" disk 2\"\n2,15\" disk 1\"\n3,tape\n")
        .csv("blank.csv", "\nid,name\n1,Ann\n")
        .csv("report.csv", "Report\n\nid,name\n1,Ann\n")
        .csv("semicolons.csv", "id;name,x\n1;Ann,y\n2;Bo,z\n")
        .csv("apostrophes.csv", "id,name\n'1','a'\n'2','b, c'\n");
    let load = |file, flags: &[&str]| {
        workplace.run(&[&["load", file, "-t", "persons", "--sniff", "--truncate"], flags].concat())
    };
    let rows = async || workplace.csv_of("SELECT * FROM persons ORDER BY id").await;
    let ran = load("quotes.csv", &["--stray-quotes", "postgres"]);
    assert!(ran.status.success() && ran.stdout.contains("removed"), "{ran:#?}");
    assert_eq!(rows().await, "1,\"a, b\"\n2,12 disk 2\n3,tape\n");
    let ran = load("pairs.csv", &["--stray-quotes", "postgres"]);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(rows().await, "1,12 disk 2\n2,15 disk 1\n3,tape\n");
    let ran = load("pairs.csv", &["--stray-quotes", "reject"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("pairs.csv, line 2"), "{ran:#?}");
    for (file, flags) in [
        ("blank.csv", &["--skip-lines", "0"][..]),
        ("blank.csv", &["--blank-lines", "row"]),
        ("semicolons.csv", &["--delimiter", ",", "--header", "yes"]),
        ("apostrophes.csv", &["--quote", "\""]),
    ] {
        let ran = load(file, flags);
        assert_ne!(ran.status.code(), Some(0), "{file} {flags:?} {ran:#?}");
    }
    for (file, flags, expected) in [
        ("blank.csv", &[][..], "1,Ann\n"),
        ("blank.csv", &["--delimiter", ","], "1,Ann\n"),
        ("report.csv", &["--skip-lines", "1"], "1,Ann\n"),
        ("apostrophes.csv", &[], "1,a\n2,\"b, c\"\n"),
    ] {
        let ran = load(file, flags);
        assert!(ran.status.success(), "{file} {flags:?} {ran:#?}");
        assert_eq!(rows().await, expected, "{file} {flags:?}");
    }
}

/// Beside `sniff`, the file may say what is not to be detected.
#[tokio::test]
async fn what_the_configuration_says_is_not_detected() {
    let workplace = workplace()
        .await
        .csv("quotes.csv", "id,name\n1,\"a, b\"\n2,12\" disk 2\"\n")
        .csv("data.csv", "id;name\nx;Ann\ny;Bo\n");
    for (config, file, expected) in [
        ("", "quotes.csv", "1,\"a, b\"\n2,\"12\"\" disk 2\"\"\"\n"),
        ("stray_quotes = \"postgres\"", "quotes.csv", "1,\"a, b\"\n2,12 disk 2\n"),
        ("", "data.csv", "x,Ann\ny,Bo\n"),
        ("header = false", "data.csv", "id,name\nx,Ann\ny,Bo\n"),
        ("header = true", "data.csv", "x,Ann\ny,Bo\n"),
    ] {
        workplace.write("config.toml", format!("[load]\nsniff = true\n{config}\n"));
        let ran = workplace.run(&["load", file, "-t", "persons", "--truncate"]);
        assert!(ran.status.success(), "{config} {ran:#?}");
        let rows = workplace.csv_of("SELECT * FROM persons ORDER BY id").await;
        assert_eq!(rows, expected, "{config} {file}");
    }
    workplace.write("config.toml", "[load]\nsniff = true\ndelimiter = \",\"\nencoding = \"latin1\"\n");
    workplace.write("data.csv", b"id;name\nx;\xe9\ny;\xfc\n");
    workplace.succeed(&["load", "data.csv", "-t", "persons", "--truncate"]);
    assert_eq!(workplace.csv_of("SELECT * FROM persons ORDER BY id").await, "x,é\ny,ü\n");
}

/// Names on two lines are not loaded as a row, and the advice loads the rest.
#[tokio::test]
async fn a_header_of_several_levels_is_refused() {
    let workplace = Workplace::with_sql("CREATE TABLE s (a text, b text, c text, d text)")
        .await
        .csv("years.csv", "2019,,2020,\nname,value,name,value\nAnn,1,Bo,2\nCy,3,Di,4\n")
        .csv("sales.csv", "region,,sales,\ncode,name,q1,q2\nN,North,5,7\nS,South,1,2\n");
    for (file, rows) in
        [("years.csv", "Ann,1,Bo,2\nCy,3,Di,4\n"), ("sales.csv", "N,North,5,7\nS,South,1,2\n")]
    {
        for flags in [&["-t", "s"][..], &["-t", "new", "--create"]] {
            let load = [&["load", file, "--sniff"], flags].concat();
            let error = workplace.fail(&load, 1);
            assert!(
                error.contains("several records of words, which may be names, stand above values:\n"),
                "{error}"
            );
            assert!(error.contains(": --skip-lines 2 --header no --columns NAME,…;"), "{error}");
            let table = flags[1];
            let advised = ["--skip-lines", "2", "--header", "no", "--columns", "a,b,c,d"];
            workplace.succeed(&[&load[..], &advised].concat());
            assert_eq!(workplace.csv_of(&format!("SELECT * FROM {table} ORDER BY a")).await, rows);
            workplace.execute("TRUNCATE s; DROP TABLE IF EXISTS new").await;
        }
    }
    workplace.succeed(&["load", "sales.csv", "--sniff", "-t", "new", "--create", "--header", "yes"]);
    assert_eq!(workplace.count("new").await, 3);
}

/// What a refusal advises works also where the file begins with a blank line.
#[tokio::test]
async fn ragged_records_after_a_blank_line_are_refused_with_advice_that_works() {
    let workplace = Workplace::with_sql("CREATE TABLE r (a int, b int, c int)").await;
    for (text, odd, advice, rows) in [
        (
            "\na,b,c\n1,2,3\n4,5\n6,7\n8,9,1\n2,4,4\n",
            "; line 1 is blank; line 4 has 2 fields, most records have 3",
            ": --delimiter ',' --skip-lines 1 --pad\n",
            5,
        ),
        (
            "\n\na,b,c\n1,2,3\n4,5,6,7\n6,7,8,9\n8,9,1\n2,4,4\n",
            "; line 1 is blank; line 5 has 4 fields, most records have 3",
            ": --delimiter ',' --skip-lines 2 --max-rejects 10\n",
            3,
        ),
        (
            "\n7,2,1\n1,5,3\n4,5\n6,9\n8,9,4\n2,3,4\n",
            "; line 1 is blank;",
            " --skip-lines 1 --no-header --pad\n",
            6,
        ),
    ] {
        workplace.write("r.csv", text);
        let error = workplace.fail(&["load", "r.csv", "-t", "r", "--sniff"], 1);
        assert!(error.contains(odd) && error.contains(advice), "{error}");
        let flags = error.rsplit_once("--delimiter ',' ").unwrap().1;
        let advised: Vec<&str> = flags.split_whitespace().collect();
        workplace.run(&[&["load", "r.csv", "-t", "r", "--truncate"], &advised[..]].concat());
        assert_eq!(workplace.count("r").await, rows, "{error}");
    }
}

//! `load` in its three modes against the server's own `COPY … (FORMAT csv)` of the same file: the four tables are
//! equal byte for byte, and the same values are refused.
//!
//! The values come from the [oracle](super::oracle), which knows which of them the encoder accepts, refuses or leaves
//! to the server. Each type is loaded from two files in every mode:
//! - one of valid values only, beginning with those that the encoder accepts, so that the format changes midway;
//! - one of all values in random order, of which exactly the invalid ones must be rejected.

use bytes::BytesMut;
use postgres_etl::csv::excerpt;
use postgres_etl::encode::Refusal;
use rand::RngExt as _;

use crate::encode::oracle::{Case, Oracle, Values, push_quoted};
use crate::support::load::{MODES, counts};

/// The limit on values in a file that only the server refuses: `load` has to isolate each of them, which takes time.
const MAX_ISOLATED: usize = 50;

/// A row of the files; `None` is NULL.
struct Row<'a> {
    id: usize,
    value: Option<&'a [u8]>,
    /// Whether the encoder accepts the value.
    sure: bool,
}

impl Oracle {
    /// Load `cases` in all four ways, and compare the tables.
    ///
    /// # Panics
    /// When two ways differ.
    pub(crate) async fn load_four_ways(&mut self, sql_type: &str, cases: &[Case]) {
        let (ours, theirs) = (self.table(sql_type).await, self.table(sql_type).await);
        let null = Row { id: cases.len(), value: None, sure: true };
        let null_is_valid = self.copies(&theirs, &null).await;
        let (mut valid, mut broken, mut isolated) = (Vec::new(), Vec::new(), 0);
        for (id, case) in cases.iter().enumerate() {
            let row = Row { id, value: Some(&case.value), sure: case.encoded.is_ok() };
            // INSERT refuses numbers with more digits than any numeric has, which COPY rounds to a `numeric(10,2)`.
            if case.refusal.is_none() || self.copies(&theirs, &row).await {
                valid.push(row);
                continue;
            }
            let is_isolated = !matches!(case.encoded, Err(Refusal::Invalid(_)));
            isolated += usize::from(is_isolated);
            if !is_isolated || isolated <= MAX_ISOLATED {
                broken.push(row);
            }
        }
        if null_is_valid {
            valid.push(null);
        } else {
            broken.push(null);
        }
        self.shuffle(&mut valid);
        valid.sort_by_key(|row| !row.sure);
        // Values that the encoder accepts precede and follow the first one that is left to the server.
        let half = valid.iter().filter(|row| row.sure).count() / 2;
        self.shuffle(&mut valid[half..]);

        // Mode batch is refused where an array cannot contain NULL.
        let array_nulls: String = self.client().query_one("SHOW array_nulls", &[]).await.unwrap().get(0);
        let modes = MODES.into_iter().filter(|mode| *mode != "batch" || array_nulls == "on");

        let name = |id: usize| cases.get(id).map_or("NULL".into(), |case| excerpt(&case.value));
        let csv = csv(&valid);
        self.workplace.write("valid.csv", &csv);
        self.copy(&format!("{theirs} FROM STDIN (FORMAT csv, HEADER)"), csv.freeze()).await.unwrap();
        for mode in modes.clone() {
            self.workplace.succeed(&["load", "valid.csv", "-t", &ours, "--truncate", "--mode", mode]);
            let differences = self.differences(&ours, &theirs, name).await;
            assert!(differences.is_empty(), "{sql_type}, {mode}: {differences:#?}");
        }
        let (loaded, rejected) = (valid.len(), broken.len());
        let mut all = valid;
        all.extend(broken);
        self.shuffle(&mut all);
        self.workplace.write("all.csv", self::csv(&all));
        for mode in modes {
            let flags =
                ["load", "all.csv", "-t", &ours, "--truncate", "--json", "--max-rejects", "100%", "--mode"];
            let ran = self.workplace.run(&[&flags[..], &[mode]].concat());
            let exit_code = if rejected > 0 { 3 } else { 0 };
            assert_eq!(ran.status.code(), Some(exit_code), "{sql_type}, {mode}: {ran:#?}");
            // Together with the counts, this shows that exactly the invalid values were rejected.
            let differences = self.differences(&ours, &theirs, name).await;
            assert!(differences.is_empty(), "{sql_type}, {mode}, with rejects: {differences:#?}");
            let report = ran.json();
            let found = counts(&report, ["rows_read", "rows_loaded", "rows_rejected"]);
            assert_eq!(
                found,
                [loaded + rejected, loaded, rejected].map(|count| count as u64),
                "{sql_type}, {mode}"
            );
        }
    }

    /// Whether the server's COPY accepts `row`. It is rolled back.
    async fn copies(&self, table: &str, row: &Row<'_>) -> bool {
        self.execute("BEGIN").await;
        let csv = csv(std::slice::from_ref(row)).freeze();
        let copied = self.copy(&format!("{table} FROM STDIN (FORMAT csv, HEADER)"), csv).await;
        self.execute("ROLLBACK").await;
        copied.is_ok()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.random.rng().random_range(0..=end));
        }
    }
}

/// `rows` as CSV with a header; in every other row, values without special characters are unquoted.
fn csv(rows: &[Row<'_>]) -> BytesMut {
    let mut csv = BytesMut::from(&b"id,value\n"[..]);
    for Row { id, value, .. } in rows {
        csv.extend_from_slice(format!("{id},").as_bytes());
        if let Some(value) = value {
            let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
            if id % 2 == 0 || value.is_empty() || value.iter().any(special) {
                push_quoted(&mut csv, value);
            } else {
                csv.extend_from_slice(value);
            }
        }
        csv.extend_from_slice(b"\n");
    }
    csv
}

/// Types whose values only the server reads.
#[tokio::test]
async fn types_without_an_encoder_agree() {
    let mut oracle = Oracle::new().await;
    oracle.execute("CREATE TYPE pair AS (a int, b text); CREATE DOMAIN span AS int4range").await;
    let ranges = Values {
        common: &["[\\[(]-?[0-9]{1,3},[0-9]{1,5}[\\])]", "empty", "[\\[(](,[0-9]{0,2}|[0-9]{1,2},)[\\])]"],
        odd: &["[\\[(]? ?[0-9]{0,2} ?,? ?[0-9]{0,2} ?[\\])]?"],
        alphabet: "[(0123456789,)] \"-",
    };
    for sql_type in ["int4range", "numrange", "span", "int8range[]"] {
        let arrays = ["\\{(\"\\[[0-9],[0-9]{2}\\)\",)?empty\\}", "\\{NULL\\}"];
        let common = if sql_type.ends_with(']') { &arrays[..] } else { ranges.common };
        oracle.leave(sql_type, &Values { common, ..ranges }).await;
    }
    let dates = Values {
        common: &["\\[20[0-9]{2}-0[1-9]-1[0-9],20[0-9]{2}-1[0-2]-2[0-9]\\)"],
        odd: &["[\\[(]\"?infinity\"?,[\\])]"],
        alphabet: "[(0123456789,)] \"-:",
    };
    oracle.leave("daterange", &dates).await;
    oracle.leave("tstzrange", &dates).await;
    let version: String = oracle.client().query_one("SHOW server_version_num", &[]).await.unwrap().get(0);
    if version.parse::<i32>().unwrap() >= 140_000 {
        let common = ["\\{(\\[[0-9],[0-9]{2}\\),)?[\\[(][0-9]{1,2},[0-9]{3}\\]\\}", "\\{\\}"];
        let multiranges = Values { common: &common, odd: &["\\{(\\[[0-9],[0-9]\\),?){0,3}\\}"], ..ranges };
        oracle.leave("int4multirange", &multiranges).await;
    }
    let pairs = Values {
        common: &["\\([0-9]{0,3},[a-z]{0,3}\\)", "\\([0-9]{1,3},\"[a-z ,\\\\]{0,2}(\"\")?\"\\)"],
        odd: &["\\( ?[0-9]{0,2} ?,? ?\"?[a-z]{0,2}\"? ?\\)"],
        alphabet: "(0123456789,)\" \\a",
    };
    oracle.leave("pair", &pairs).await;
    let bits =
        Values { common: &["[01]{0,6}", "[01]{4}"], odd: &["[bBxX]?[0-9a-f]{1,3}"], alphabet: "01bBxX2 f" };
    for sql_type in ["bit(4)", "varbit", "varbit(5)", "bit"] {
        oracle.leave(sql_type, &bits).await;
    }
    let amounts = Values {
        common: &["-?\\$?[0-9]{1,6}(\\.[0-9]{1,3})?", "\\$[0-9]{1,3},[0-9]{3}\\.[0-9]{2}"],
        odd: &["\\(\\$?[0-9]{1,20}\\)", "[0-9,.$ -]{1,6}"],
        alphabet: "0123456789$,.-() +e",
    };
    oracle.leave("money", &amounts).await;
    let points = Values {
        common: &["\\(-?[0-9]{1,3},[0-9](\\.[0-9]{1,3})?\\)"],
        odd: &["\\(?[0-9]{1,2} ?, ?(NaN|inf|[0-9]{1,2})\\)?"],
        alphabet: "(0123456789,.)e- ",
    };
    oracle.leave("point", &points).await;
    let words = Values {
        common: &["([a-z]{1,5} ){0,4}[a-zé]{1,5}", "'[a-z ]{1,3}':[0-9]{1,2}[A-D]?( [a-z]{1,2}:[0-9]{1,2})?"],
        odd: &["[a-z':\\\\ &|!()*]{1,8}"],
        alphabet: "a':\\ 0123456789,&|!()*AB",
    };
    oracle.leave("tsvector", &words).await;
    oracle.leave("tsquery", &words).await;
    let builds_xml = oracle.client().query("SELECT '<a/>'::xml", &[]).await.is_ok();
    if builds_xml {
        let documents = Values {
            common: &["<([a-c])( [xy]=\"[0-9&]{0,2}\")?>[a-zé ]{0,3}</[a-c]>", "[a-z ]{1,3}", "<[ab]/>"],
            odd: &["<[a-z]?[ /]?>?", "&(amp|lt|[a-z]{1,3});?"],
            alphabet: "<>/a=\"&; ",
        };
        oracle.leave("xml", &documents).await;
    }
}

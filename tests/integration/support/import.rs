//! What the tests of imports share: a file with bad rows, and what a load of it has to leave.

use super::workplace::Workplace;

/// The table that the file is loaded into.
pub(crate) const KEYS: &str = "CREATE TABLE t (id int PRIMARY KEY, v text CHECK (v <> 'bad'))";

/// The load, without its files.
pub(crate) const IMPORT: [&str; 9] =
    ["load", "-t", "t", "--import-id", "nightly", "--chunk-rows", "300", "--max-rejects", "500"];

/// The load of `file` in `mode`.
pub(crate) fn import_into_t<'a>(file: &'a str, mode: &'a str) -> Vec<&'a str> {
    [&IMPORT[..], &[file, "--mode", mode]].concat()
}

/// 2,000 records, of which some cannot be read, some break a constraint, and some have a key that was there before: in the
/// same chunk, or in an earlier one.
pub(crate) fn dirty_csv() -> String {
    let row = |id: u32| match id {
        _ if id % 97 == 5 => format!("x{id},unreadable\n"),
        _ if id % 89 == 7 => format!("{id},bad\n"),
        _ if id % 71 == 9 => format!("{},duplicate\n", id / 2),
        _ if id % 61 == 3 => format!("{id},\"two\nlines\"\n"),
        _ => format!("{id},v{id}\n"),
    };
    format!("id,v\n{}", (0..2000).map(row).collect::<String>())
}

/// The header and the first `records` records of `csv`.
pub(crate) fn first_lines(csv: &str, records: usize) -> &str {
    let mut in_quotes = false;
    let ends = csv.char_indices().filter(|(_, character)| {
        in_quotes ^= *character == '"';
        *character == '\n' && !in_quotes
    });
    let (end, _) = ends.into_iter().nth(records).unwrap();
    &csv[..=end]
}

/// What a load of [`dirty_csv`] leaves that nothing has disturbed.
pub(crate) struct Expected {
    table: Vec<u8>,
    rejects: String,
    /// The lines of the rejected records.
    lines: Vec<u64>,
    pub(crate) rejected: u64,
}

impl Expected {
    /// What one in `mode` and in one transaction leaves.
    pub(crate) async fn in_mode(mode: &str) -> Expected {
        let workplace = Workplace::with_sql(KEYS).await.csv("data.csv", dirty_csv());
        let load = ["load", "data.csv", "-t", "t", "--mode", mode, "--max-rejects", "500"];
        let ran = workplace.run(&load);
        assert_eq!(ran.status.code(), Some(3), "{ran:#?}");
        let (table, rejects, lines) =
            (workplace.content("t").await, workplace.read("rejects.csv"), rejected_lines(&workplace));
        let rejected = lines.len() as u64;
        assert!(rejected > 50, "{rejected}");
        Expected { table, rejects, lines, rejected }
    }

    /// Check that `workplace` has the same rows, and the same rejects.
    pub(crate) async fn check(&self, workplace: &Workplace, when: &str) {
        self.check_rows(workplace, when).await;
        assert_eq!(rejected_lines(workplace), self.lines, "{when}");
    }

    /// As [`Expected::check`], where the rejects may come from other files.
    pub(crate) async fn check_rows(&self, workplace: &Workplace, when: &str) {
        assert!(workplace.content("t").await == self.table, "{when}: other rows");
        assert_eq!(workplace.read("rejects.csv"), self.rejects, "{when}");
        let (chunks, rows): (i64, i64) = {
            let sums = "SELECT count(*), sum(rows_read)::bigint FROM postgres_etl.ledger";
            let row = workplace.client().query_one(sums, &[]).await.unwrap();
            (row.get(0), row.get(1))
        };
        assert!(chunks >= 7 && rows == 2000, "{when}: {chunks} chunks of {rows} rows");
    }
}

/// The lines on which the records of the rejects log begin.
fn rejected_lines(workplace: &Workplace) -> Vec<u64> {
    let log = workplace.read("rejects.log.jsonl");
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["first_line"].as_u64();
    log.lines().map(|entry| line(entry).unwrap()).collect()
}

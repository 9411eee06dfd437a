//! The encoders against the server's own input functions.
//!
//! Each test draws values of a type, both common and broken ones, and loads them twice: encoded through binary COPY,
//! and as text through CSV COPY. The encoder is correct if
//! - the server stores what it encodes byte for byte as it stores the text, or refuses both;
//! - the server refuses what it calls invalid;
//! - it leaves nothing to the server that people commonly write.
//!
//! Then `load` itself must load a sample of the values as the server's own COPY does: see
//! [`four_ways`](super::four_ways).
//!
//! The values are the same in every run; `ORACLE_CASES=20000` draws more of them, `ORACLE_SEED=2` different ones.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use futures::SinkExt as _;
use postgres_etl::catalog::{Table, TableName};
use postgres_etl::csv::excerpt;
use postgres_etl::encode::{Encoder, Refusal};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::string::string_regex;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::{Rng as _, RngExt as _};
use tokio_postgres::{Client, Row};

use crate::support::workplace::Workplace;
use crate::support::{self, TestDb};

/// The values of a type.
pub(crate) struct Values<'a> {
    /// Regular expressions of common values, none of which may be left to the server.
    pub common: &'a [&'a str],
    /// Regular expressions of rare values, valid or not.
    pub odd: &'a [&'a str],
    /// Characters with a meaning in the type's syntax, which are inserted to break values.
    pub alphabet: &'a str,
}

/// A database to compare with, and the source of all randomness.
pub(crate) struct Oracle {
    pub random: TestRunner,
    /// Where `load` is run.
    pub workplace: Workplace,
    tables: u32,
}

/// A value, and what the encoder and the server made of it.
pub(crate) struct Case {
    pub value: Vec<u8>,
    pub encoded: Result<Vec<u8>, Refusal>,
    /// Why the server refuses it; `None` if it does not.
    pub refusal: Option<String>,
}

impl Oracle {
    pub(crate) async fn new() -> Oracle {
        Oracle::on(&support::database().await).await
    }

    /// An oracle whose database has the encoding LATIN1.
    pub(crate) async fn latin1() -> Oracle {
        Oracle::on(&support::database_with("ENCODING LATIN1 LOCALE 'C' TEMPLATE template0").await).await
    }

    /// An oracle whose sessions have the parameters set by `settings`, which are `SET …` statements.
    pub(crate) async fn with(settings: &str) -> Oracle {
        let database = support::database().await;
        let client = database.connect().await;
        let name: String = client.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
        let settings = settings.replace("SET ", &format!("ALTER DATABASE {name} SET "));
        client.batch_execute(&settings).await.unwrap();
        Oracle::on(&database).await
    }

    async fn on(database: &TestDb) -> Oracle {
        let workplace = Workplace::on(database).await;
        workplace
            .execute(
                "CREATE FUNCTION refusals(target text, vals text[]) RETURNS TABLE (id int, reason text)
                 LANGUAGE plpgsql AS $$
                 DECLARE val text; i int := 0;
                 BEGIN
                     FOREACH val IN ARRAY vals LOOP
                         BEGIN
                             EXECUTE format('INSERT INTO %I VALUES (0, %L)', target, val);
                         EXCEPTION WHEN OTHERS THEN
                             id := i; reason := SQLERRM; RETURN NEXT;
                         END;
                         i := i + 1;
                     END LOOP;
                 END $$",
            )
            .await;
        let seed: u64 = std::env::var("ORACLE_SEED").map_or(1, |seed| seed.parse().expect("a number"));
        let seed: Vec<u8> = [seed; 4].iter().flat_map(|part| part.to_le_bytes()).collect();
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let random = TestRunner::new_with_rng(Config::default(), rng);
        Oracle { workplace, random, tables: 0 }
    }

    /// A connection to the database.
    pub(crate) fn client(&self) -> &Client {
        self.workplace.client()
    }

    /// Execute statements, such as those that create types.
    pub(crate) async fn execute(&self, sql: &str) {
        self.workplace.execute(sql).await;
    }

    /// Check that encoder, server and `load` agree on random `values`, and on broken copies of them.
    pub(crate) async fn agree(&mut self, sql_type: &str, values: &Values<'_>) {
        let count = count();
        let common = self.draw(values.common, count);
        let odd = self.draw(values.odd, count);
        let broken: Vec<_> =
            common.iter().chain(&odd).map(|value| self.edit(value, values.alphabet)).collect();
        let common = self.compare(sql_type, &common).await;
        let unsure: Vec<_> = common.iter().filter(|case| case.encoded == Err(Refusal::NeedsServer)).collect();
        assert!(unsure.is_empty(), "{sql_type}: common, but left to the server: {}", list(&unsure));
        let odd = self.compare(sql_type, &odd).await;
        let broken = self.compare(sql_type, &broken).await;
        let sample = [common, odd, broken].into_iter().flat_map(|cases| {
            let step = cases.len().div_ceil(count / 10);
            cases.into_iter().step_by(step)
        });
        self.load_four_ways(sql_type, &sample.collect::<Vec<_>>()).await;
    }

    /// Check that server and `load` agree on random `values` of a type that has no encoder.
    pub(crate) async fn leave(&mut self, sql_type: &str, values: &Values<'_>) {
        let mut drawn = self.draw(values.common, count() / 10);
        drawn.extend(self.draw(values.odd, count() / 10));
        let broken: Vec<_> = drawn.iter().map(|value| self.edit(value, values.alphabet)).collect();
        drawn.extend(broken);
        let table = self.table(sql_type).await;
        assert!(encoder(self.client(), &table).await.is_none(), "{sql_type} is not left to the server");
        let cases = self.cases(&table, &drawn).await;
        self.load_four_ways(sql_type, &cases).await;
    }

    /// A new table (id, value) for values of `sql_type`.
    pub(crate) async fn table(&mut self, sql_type: &str) -> String {
        self.tables += 1;
        let table = format!("values_{}", self.tables);
        self.execute(&format!("CREATE TABLE {table} (id int, value {sql_type})")).await;
        table
    }

    /// Compare encoder and server on each of `values`.
    ///
    /// # Panics
    /// When they disagree.
    pub(crate) async fn compare(&mut self, sql_type: &str, values: &[Vec<u8>]) -> Vec<Case> {
        let (ours, theirs) = (self.table(sql_type).await, self.table(sql_type).await);
        let cases = self.cases(&ours, values).await;
        self.execute(&format!("TRUNCATE {ours}")).await;

        let mut problems = Vec::new();
        let (mut csv, mut tuples) = (BytesMut::new(), Tuples::default());
        for (id, case) in cases.iter().enumerate() {
            match (&case.encoded, &case.refusal) {
                (Err(Refusal::Invalid(why)), None) => {
                    problems.push(format!("{} is fine, but: {why}", excerpt(&case.value)));
                }
                (Ok(encoded), Some(why)) => {
                    let mut alone = Tuples::default();
                    alone.push(id, encoded);
                    if self.copy(&format!("{ours} FROM STDIN (FORMAT binary)"), alone.end()).await.is_ok() {
                        problems.push(format!("{} was stored, but: {why}", excerpt(&case.value)));
                    }
                }
                (Ok(encoded), None) => {
                    csv.extend_from_slice(format!("{id},").as_bytes());
                    push_quoted(&mut csv, &case.value);
                    csv.extend_from_slice(b"\n");
                    tuples.push(id, encoded);
                }
                (Err(Refusal::NeedsServer), _) | (Err(_), Some(_)) => {}
            }
        }
        self.copy(&format!("{theirs} FROM STDIN (FORMAT csv)"), csv.freeze()).await.unwrap_or_else(|error| {
            panic!("{sql_type}: the server takes a value and COPY does not: {error:?}")
        });
        if let Err(error) = self.copy(&format!("{ours} FROM STDIN (FORMAT binary)"), tuples.end()).await {
            let place = error.as_db_error().and_then(|error| error.where_()).unwrap_or_default();
            let line = place.split(&[' ', ','][..]).find_map(|word| word.parse::<usize>().ok());
            let accepted = || cases.iter().filter(|case| case.encoded.is_ok() && case.refusal.is_none());
            let culprit = line.and_then(|line| accepted().nth(line - 1));
            problems.push(format!(
                "{} is fine, but not what we make of it: {error:?}",
                culprit.map_or_else(|| "something".into(), |case| excerpt(&case.value)),
            ));
        } else {
            problems = self.differences(&ours, &theirs, |id| excerpt(&cases[id].value)).await;
        }
        problems.truncate(20);
        assert!(problems.is_empty(), "{sql_type}:\n{}", problems.join("\n"));
        cases
    }

    /// How the values in table `ours` differ from those in `theirs`; `name` returns the value of an id.
    pub(crate) async fn differences(
        &self,
        ours: &str,
        theirs: &str,
        name: impl Fn(usize) -> String,
    ) -> Vec<String> {
        let sql = format!(
            "SELECT id, encode(o.sent, 'hex'), encode(t.sent, 'hex')
             FROM (SELECT *, record_send(ROW(value)) AS sent FROM {ours}) o
             FULL JOIN (SELECT *, record_send(ROW(value)) AS sent FROM {theirs}) t USING (id)
             WHERE o.sent IS DISTINCT FROM t.sent OR pg_column_size(o.value) <> pg_column_size(t.value)"
        );
        let rows = self.client().query(&sql, &[]).await.unwrap();
        let difference = |row: &Row| {
            let [ours, theirs] = [1, 2].map(|index| row.get::<_, Option<String>>(index));
            format!("{} was stored as {ours:?}, not as {theirs:?}", name(row.get::<_, i32>(0) as usize))
        };
        rows.iter().map(difference).collect()
    }

    /// What the encoder for `table` and the server make of each distinct value of `values`.
    async fn cases(&self, table: &str, values: &[Vec<u8>]) -> Vec<Case> {
        let column = encoder(self.client(), table).await;
        let mut seen = HashSet::new();
        let mut cases: Vec<Case> = Vec::new();
        for value in values.iter().filter(|&value| seen.insert(value)) {
            let mut out = b"before".to_vec();
            let encoded =
                column.as_ref().map_or(Err(Refusal::NeedsServer), |column| column.encode(value, &mut out));
            assert!(out.starts_with(b"before"));
            assert!(encoded.is_ok() || out == b"before", "{} left something behind", excerpt(value));
            // COPY refuses the whole line if it is not valid text.
            let text = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
            let refusal = if text.is_none() { Some("not text".to_owned()) } else { None };
            cases.push(Case { value: value.clone(), encoded: encoded.map(|()| out.split_off(6)), refusal });
        }
        let texts: Vec<&str> = cases
            .iter()
            .map(|case| if case.refusal.is_some() { "" } else { std::str::from_utf8(&case.value).unwrap() })
            .collect();
        let refused = self.client().query("SELECT * FROM refusals($1, $2)", &[&table, &texts]).await.unwrap();
        for row in refused {
            cases[row.get::<_, i32>(0) as usize].refusal.get_or_insert(row.get(1));
        }
        cases
    }

    pub(crate) async fn copy(&self, what: &str, data: Bytes) -> Result<u64, tokio_postgres::Error> {
        let sink = self.client().copy_in::<_, Bytes>(&format!("COPY {what}")).await?;
        let mut sink = std::pin::pin!(sink);
        sink.as_mut().send(data).await?;
        sink.as_mut().finish().await
    }

    /// Draw `count` values, in equal shares from all `patterns`.
    pub(crate) fn draw(&mut self, patterns: &[&str], count: usize) -> Vec<Vec<u8>> {
        let mut values = Vec::with_capacity(count);
        for pattern in patterns {
            let strings = string_regex(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for _ in 0..count.div_ceil(patterns.len()) {
                values.push(strings.new_tree(&mut self.random).unwrap().current().into_bytes());
            }
        }
        values
    }

    /// Insert, delete, replace, double or swap a few bytes of `value`.
    fn edit(&mut self, value: &[u8], alphabet: &str) -> Vec<u8> {
        let mut value = value.to_vec();
        let random = self.random.rng();
        for _ in 0..=random.next_u32() % 3 {
            let letter = alphabet.as_bytes()[random.random_range(0..alphabet.len())];
            let at = random.random_range(0..=value.len());
            match random.random_range(0..5) {
                1 if at < value.len() => drop(value.remove(at)),
                2 if at < value.len() => value[at] = letter,
                3 if at < value.len() => value.insert(at, value[at]),
                4 if at + 1 < value.len() => value.swap(at, at + 1),
                _ => value.insert(at, letter),
            }
        }
        value
    }
}

/// How many values of each kind are drawn.
fn count() -> usize {
    std::env::var("ORACLE_CASES").map_or(1000, |cases| cases.parse().expect("a number"))
}

/// The encoder of the column `value`.
async fn encoder(client: &Client, table: &str) -> Option<Encoder> {
    let name = TableName::parse(table).unwrap();
    let table = Table::find(client, &name).await.unwrap().unwrap();
    let column = table.column_by_sql_name("value").unwrap();
    table.encoder(column)
}

/// Append `value` as a quoted field of CSV.
pub(crate) fn push_quoted(csv: &mut BytesMut, value: &[u8]) {
    csv.extend_from_slice(b"\"");
    for &byte in value {
        csv.extend_from_slice(if byte == b'"' { b"\"\"" } else { std::slice::from_ref(&byte) });
    }
    csv.extend_from_slice(b"\"");
}

fn list(cases: &[&Case]) -> String {
    cases.iter().take(20).map(|case| excerpt(&case.value)).collect::<Vec<_>>().join(", ")
}

/// A binary COPY stream of rows (id, value).
#[derive(Default)]
struct Tuples(BytesMut);

impl Tuples {
    fn push(&mut self, id: usize, value: &[u8]) {
        if self.0.is_empty() {
            self.header();
        }
        self.0.extend_from_slice(&2_i16.to_be_bytes());
        self.0.extend_from_slice(&4_i32.to_be_bytes());
        self.0.extend_from_slice(&(id as i32).to_be_bytes());
        self.0.extend_from_slice(&(value.len() as i32).to_be_bytes());
        self.0.extend_from_slice(value);
    }

    fn header(&mut self) {
        self.0.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    }

    fn end(mut self) -> Bytes {
        if self.0.is_empty() {
            self.header();
        }
        self.0.extend_from_slice(&(-1_i16).to_be_bytes());
        self.0.freeze()
    }
}

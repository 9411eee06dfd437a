//! What our encoders make of a value, against what the server itself makes of it.
//!
//! Each test draws values of one type, as people write them and broken, and loads them twice: as our encoder
//! writes them through binary COPY, and as they are through CSV COPY. The encoder keeps its word when
//! - what it takes, the server stores alike to the byte, or refuses on either way;
//! - what it calls invalid, the server refuses;
//! - it leaves to the server nothing that people commonly write.
//!
//! The values are the same in every run; `ORACLE_CASES=20000` draws more of them.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use futures::SinkExt as _;
use postgres_etl::encode::{Encoder, Refusal};
use postgres_etl::source::excerpt;
use postgres_etl::table::{Table, TableName};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use rand::{Rng as _, RngExt as _};
use tokio_postgres::Client;

use crate::support;

/// The values of a type.
pub struct Values<'a> {
    /// Regular expressions of what people commonly write; none of it may be left to the server.
    pub common: &'a [&'a str],
    /// Regular expressions of what is rarely written, right or wrong.
    pub odd: &'a [&'a str],
    /// What is inserted to break values: the characters that mean something in the type.
    pub alphabet: &'a str,
}

/// A database to ask, and the source of all randomness.
pub struct Oracle {
    client: Client,
    random: TestRunner,
    tables: u32,
}

/// One value, and what came of it.
struct Case {
    value: Vec<u8>,
    encoded: Result<Vec<u8>, Refusal>,
    /// Why the server refuses it.
    refusal: Option<String>,
}

impl Oracle {
    pub async fn new() -> Oracle {
        Oracle::ask(support::database().await.connect().await).await
    }

    /// One whose database stores text in LATIN1.
    pub async fn latin1() -> Oracle {
        let database = support::database().await;
        let client = database.connect().await;
        let name: String =
            client.query_one("SELECT current_database() || '_latin1'", &[]).await.unwrap().get(0);
        let create = format!("CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0");
        client.batch_execute(&create).await.unwrap();
        let url = database.url().replacen(name.trim_end_matches("_latin1"), &name, 1);
        Oracle::ask(support::connect(&url).await).await
    }

    async fn ask(client: Client) -> Oracle {
        client
            .batch_execute(
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
            .await
            .unwrap();
        Oracle { client, random: TestRunner::deterministic(), tables: 0 }
    }

    /// Run statements first, that create types or set parameters.
    pub async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Compare encoder and server on values like `values`, and on what is left of them after some editing.
    pub async fn agree(&mut self, sql_type: &str, values: &Values<'_>) {
        let count = std::env::var("ORACLE_CASES").map_or(1000, |cases| cases.parse().expect("a number"));
        let common = self.draw(values.common, count);
        let odd = self.draw(values.odd, count);
        let broken: Vec<_> =
            common.iter().chain(&odd).map(|value| self.edit(value, values.alphabet)).collect();
        let unsure = self.compare(sql_type, &common).await;
        assert!(unsure.is_empty(), "{sql_type}: common, but left to the server: {}", list(&unsure));
        self.compare(sql_type, &odd).await;
        self.compare(sql_type, &broken).await;
    }

    /// Compare encoder and server on each of `values`; returns those that the encoder leaves to the server.
    ///
    /// # Panics
    /// When they disagree.
    pub async fn compare(&mut self, sql_type: &str, values: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.tables += 1;
        let (ours, theirs) = (format!("ours_{}", self.tables), format!("theirs_{}", self.tables));
        for table in [&ours, &theirs] {
            self.execute(&format!("CREATE TABLE {table} (id int, value {sql_type})")).await;
        }
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
                    csv.extend_from_slice(format!("{id},\"").as_bytes());
                    for &byte in &case.value {
                        csv.extend_from_slice(if byte == b'"' {
                            b"\"\""
                        } else {
                            std::slice::from_ref(&byte)
                        });
                    }
                    csv.extend_from_slice(b"\"\n");
                    tuples.push(id, encoded);
                }
                (Err(Refusal::Unsure), _) | (Err(_), Some(_)) => {}
            }
        }
        self.copy(&format!("{theirs} FROM STDIN (FORMAT csv)"), csv.freeze()).await.unwrap_or_else(|error| {
            panic!("{sql_type}: the server takes a value and COPY does not: {error:?}")
        });
        if let Err(error) = self.copy(&format!("{ours} FROM STDIN (FORMAT binary)"), tuples.end()).await {
            let place = error.as_db_error().and_then(|error| error.where_()).unwrap_or_default();
            let line = place.split(&[' ', ','][..]).filter_map(|word| word.parse::<usize>().ok()).next();
            let accepted = || cases.iter().filter(|case| case.encoded.is_ok() && case.refusal.is_none());
            let culprit = line.and_then(|line| accepted().nth(line - 1));
            problems.push(format!(
                "{} is fine, but not what we make of it: {error:?}",
                culprit.map_or_else(|| "something".into(), |case| excerpt(&case.value)),
            ));
        } else {
            let differences = format!(
                "SELECT id, encode(o.sent, 'hex'), encode(t.sent, 'hex')
                 FROM (SELECT *, record_send(ROW(value)) AS sent FROM {ours}) o
                 FULL JOIN (SELECT *, record_send(ROW(value)) AS sent FROM {theirs}) t USING (id)
                 WHERE o.sent IS DISTINCT FROM t.sent OR pg_column_size(o.value) <> pg_column_size(t.value)"
            );
            for row in self.client.query(&differences, &[]).await.unwrap() {
                problems.push(format!(
                    "{} was stored as {:?}, not as {:?}",
                    excerpt(&cases[row.get::<_, i32>(0) as usize].value),
                    row.get::<_, Option<String>>(1),
                    row.get::<_, Option<String>>(2),
                ));
            }
        }
        problems.truncate(20);
        assert!(problems.is_empty(), "{sql_type}:\n{}", problems.join("\n"));
        let unsure = cases.into_iter().filter(|case| case.encoded == Err(Refusal::Unsure));
        unsure.map(|case| case.value).collect()
    }

    /// Let the encoder of `table` and the server judge each of `values` once.
    async fn cases(&self, table: &str, values: &[Vec<u8>]) -> Vec<Case> {
        let encoder = encoder(&self.client, table).await;
        let mut seen = HashSet::new();
        let mut cases: Vec<Case> = Vec::new();
        for value in values.iter().filter(|&value| seen.insert(value)) {
            let mut out = b"before".to_vec();
            let encoded = encoder.encode(value, &mut out);
            assert!(out.starts_with(b"before"));
            assert!(encoded.is_ok() || out == b"before", "{} left something behind", excerpt(value));
            // COPY refuses a whole line that is not text.
            let text = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
            let refusal = if text.is_none() { Some("not text".to_owned()) } else { None };
            cases.push(Case { value: value.clone(), encoded: encoded.map(|()| out.split_off(6)), refusal });
        }
        let texts: Vec<&str> = cases
            .iter()
            .map(|case| if case.refusal.is_some() { "" } else { std::str::from_utf8(&case.value).unwrap() })
            .collect();
        let refused = self.client.query("SELECT * FROM refusals($1, $2)", &[&table, &texts]).await.unwrap();
        for row in refused {
            cases[row.get::<_, i32>(0) as usize].refusal.get_or_insert(row.get(1));
        }
        cases
    }

    async fn copy(&self, what: &str, data: Bytes) -> Result<u64, tokio_postgres::Error> {
        let sink = self.client.copy_in::<_, Bytes>(&format!("COPY {what}")).await?;
        let mut sink = std::pin::pin!(sink);
        sink.as_mut().send(data).await?;
        sink.as_mut().finish().await
    }

    /// `count` values, of all `patterns` in equal shares.
    fn draw(&mut self, patterns: &[&str], count: usize) -> Vec<Vec<u8>> {
        let mut values = Vec::with_capacity(count);
        for pattern in patterns {
            let strings = string_regex(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for _ in 0..count.div_ceil(patterns.len()) {
                values.push(strings.new_tree(&mut self.random).unwrap().current().into_bytes());
            }
        }
        values
    }

    /// Insert, delete, replace, double or exchange a few bytes of `value`.
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

/// The encoder of the column `value`.
async fn encoder(client: &Client, table: &str) -> Encoder {
    let name = TableName::parse(table).unwrap();
    let table = Table::find(client, &name).await.unwrap().unwrap();
    let column = table.column("value").unwrap();
    table.encoder(column).unwrap_or_else(|| panic!("{} has no encoder", column.type_name))
}

fn list(values: &[Vec<u8>]) -> String {
    values.iter().take(20).map(|value| excerpt(value)).collect::<Vec<_>>().join(", ")
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

#[tokio::test]
async fn integers_agree() {
    let mut oracle = Oracle::new().await;
    let values = Values {
        common: &["-?[0-9]{1,4}", "[+-]?[0-9]{1,4}", " ?0{0,30}[0-9]{1,4} ?"],
        odd: &[
            "-?3276[0-9]",
            "-?214748364[0-9]",
            "-?922337203685477580[0-9]",
            "-?[0-9]{5,25}",
            "[+-]?0[xX][0-9a-fA-F]{0,9}",
            "0[oObB][0-7_]{1,9}",
            "[0-9_]{1,6}",
            "[ \t\n\r\u{b}\u{c}]{0,2}[0-9]{1,3}[ \t\n\r\u{b}\u{c}]{0,2}",
        ],
        alphabet: "0123456789+-_xob.e \t\u{b}\u{a0}\0",
    };
    for sql_type in ["smallint", "integer", "bigint"] {
        oracle.agree(sql_type, &values).await;
    }
}

#[tokio::test]
async fn booleans_agree() {
    let words = "(t|true|f|false|y|yes|n|no|on|off|0|1)";
    let values = Values {
        common: &[words, "(T|TRUE|F|FALSE|Yes|No|ON|Off)", " {0,2}(tr|tru|fa|fal|ye|of) {0,2}"],
        odd: &["[a-z]{0,5}", "[oO][nNfF]{0,3}", "[01]{0,3}"],
        alphabet: "truefalsyno01 \t\0",
    };
    Oracle::new().await.agree("boolean", &values).await;
}

const DECIMALS: Values<'_> = Values {
    common: &[
        "-?[0-9]{1,12}",
        "[+-]?[0-9]{1,9}\\.[0-9]{1,9}",
        "[+-]?(\\.[0-9]{1,6}|[0-9]{1,6}\\.)",
        "-?[0-9](\\.[0-9]{1,20})?[eE][+-]?[0-2]?[0-9]",
        " ?(NaN|nan) ?",
    ],
    odd: &[
        "-?0{0,9}(\\.0{0,9})?(e-?[0-9]{1,4})?",
        "-?[0-9]{30,60}(\\.[0-9]{30,60})?",
        "-?[0-9]{1,3}\\.?[0-9]{0,20}e[+-]?[0-9]{1,3}",
        "0{0,12}[0-9]{1,9}0{0,12}\\.0{0,12}[0-9]{1,9}0{0,12}(e-?[0-9]{1,2})?",
        "[0-9]{1,4}e-?(1638[0-9]|13107[0-9]|[0-9]{4,8})",
        "[+-]?([iI]nf(inity)?|INF|nan|nan\\(1?\\)|infinit)",
        "[+-]?0[xX][0-9a-fA-F]{0,9}(p[0-9]{1,2})?",
        "0[oObB][0-7_]{1,9}",
        "[0-9_]{1,6}\\.[0-9_]{1,6}(e[0-9_ +-]{1,3})?",
        "[ \t\n\r\u{b}\u{c}]{0,2}[0-9]{1,3}[ \t\n\r\u{b}\u{c}]{0,2}",
    ],
    alphabet: "0123456789+-_.eExobNnaify \t\u{b}\u{a0}\0",
};

#[tokio::test]
async fn floats_agree() {
    let mut oracle = Oracle::new().await;
    let spaced = "[+-]?(inf|Infinity|INFINITY)";
    let values = Values { common: &[DECIMALS.common, &[spaced]].concat(), ..DECIMALS };
    oracle.agree("double precision", &values).await;
    oracle.agree("real", &values).await;
    let edges = Values {
        common: &["0"],
        odd: &[
            // The largest, the smallest normal, the smallest of all, and their neighbours; halves between two.
            "-?1\\.797693134862315[789][0-9]{1,4}e308",
            "2\\.22507385850720[01][0-9]{1,4}e-308",
            "[2-7]\\.[0-9]{1,20}e-324",
            "3\\.40282[34][0-9]{1,12}e38",
            "1\\.17549[45][0-9]{1,6}e-38",
            "(0\\.[6-8]|1\\.[34])[0-9]{1,20}e-45",
            "167772(15|16|17|18|19)(\\.0{0,20}[0-9])?",
            "9007199254740[0-9]{3}(\\.0{0,30}[0-9])?",
        ],
        alphabet: "0123456789e-.",
    };
    oracle.agree("double precision", &edges).await;
    oracle.agree("real", &edges).await;
}

#[tokio::test]
async fn numerics_agree() {
    let mut oracle = Oracle::new().await;
    for sql_type in ["numeric", "numeric(10,2)", "numeric(5)", "numeric(30,20)"] {
        oracle.agree(sql_type, &DECIMALS).await;
    }
    let long = Values {
        common: &["[1-9][0-9]{0,300}0{0,300}", "0\\.0{0,300}[0-9]{1,300}"],
        odd: &["[1-9]e1310[67][0-9]", "[0-9]{9}\\.[0-9]{9}e-?16[0-9]{3}"],
        alphabet: "0123456789.e-",
    };
    oracle.agree("numeric", &long).await;
    let longest = ["[1-9]0{131070,131074}", "\\.0{16380,16384}1", "0{140000}1\\.5"];
    let longest = oracle.draw(&longest, 15);
    oracle.compare("numeric", &longest).await;
}

#[tokio::test]
async fn texts_agree() {
    let mut oracle = Oracle::new().await;
    let values = Values {
        common: &["[ -~]{0,12}", "[a-zé‘ā漢🐘]{0,6} {0,3}", "\\PC{0,8}"],
        odd: &["[a-zé漢🐘]{15,70}", " {0,80}", "[\t\r\n\\\\.\"',]{1,4}"],
        alphabet: "aé\u{80}漢🐘 \t\r\n\\\"\0",
    };
    for sql_type in ["text", "varchar", "varchar(5)", "char(5)", "char", "bpchar", "name"] {
        oracle.agree(sql_type, &values).await;
    }
}

#[tokio::test]
async fn latin1_databases_agree() {
    let mut oracle = Oracle::latin1().await;
    let values = Values {
        common: &["[a-zé]{0,20}"],
        odd: &["[a-z]{60,66}é?", "é{10,70}", "\\{\"?[a-zé]{1,3}\"?\\}", " ?[0-9a-f]{1,3}\u{a0}?"],
        alphabet: "aé \\\"0{}",
    };
    oracle.agree("text", &values).await;
    oracle.agree("varchar(12)", &values).await;
    oracle.agree("name", &Values { common: &["[a-z]{0,63}"], ..values }).await;
    oracle.agree("bytea", &Values { common: &["[a-z]{0,9}"], ..values }).await;
    oracle.agree("integer", &Values { common: &["[0-9]"], ..values }).await;
    oracle.agree("text[]", &Values { common: &["\\{[a-zé]\\}"], ..values }).await;
}

#[tokio::test]
async fn byteas_agree() {
    let values = Values {
        common: &[
            "\\\\x([0-9a-f]{2}){0,20}",
            "\\\\x([0-9A-F]{2} ?){0,20}",
            "[ -\\[\\]-~]{0,12}",
            "[a-zé漢]{0,9}",
        ],
        odd: &["(\\\\[0-3][0-7]{2}|\\\\\\\\|[ -\\[]){0,9}", "\\\\[0-9xX]{1,4}", "\\\\x[0-9a-g \t\r\n]{0,9}"],
        alphabet: "\\x0123456789abcdefgAF \t\n\r\u{b}é\0",
    };
    Oracle::new().await.agree("bytea", &values).await;
}

#[tokio::test]
async fn uuids_agree() {
    let values = Values {
        common: &["[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[0-9a-fA-F]{32}"],
        odd: &["\\{?([0-9a-f]{4}-?){8}\\}?", "\\{([0-9a-f]{4}-){7}[0-9a-f]{4}\\}", "([0-9a-f]{2}-?){16}"],
        alphabet: "0123456789abcdefgAF{}- ",
    };
    Oracle::new().await.agree("uuid", &values).await;
}

#[tokio::test]
async fn json_agrees() {
    let mut oracle = Oracle::new().await;
    let values = Values {
        common: &[
            r#"\{"[a-z]{1,5}": ?(-?(0|[1-9][0-9]{0,5})|"[a-zé漢🐘 ]{0,6}"|true|false|null)\}"#,
            r"\[((0|[1-9][0-9]?)(\.[0-9]{1,9})?(e-?[0-9]{1,2})?, ?){0,4}null\]",
            r#"\{"a": \{"b": \[1, "x", \{\}, \[\], \{"c": (true|\[null\])\}\], "[ab]": "\\(n|u00e9|"|ud83d\\udc18)"\}\}"#,
        ],
        odd: &[
            r#"[\[\]{}:,"0-9a ]{0,9}"#,
            r#""(\\u(000[0-9]|d[89a-f][0-9a-f]{2})|\\[ -~]|[a-z]){0,4}""#,
            r"-?[0-9]{1,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,6})?",
            r"(\[|\{){0,3}(true|false|null|nul|True)(\]|\}){0,3}",
            "\\[{1000,1030}\\]{1000,1030}",
            "[ \t\r\n\u{b}\u{c}]{0,2}[0-9][ \t\r\n\u{b}\u{c}]{0,2}",
            "\"[\u{1}-\u{20}\u{7f}\u{80}]{0,2}\"",
        ],
        alphabet: "[]{}:,\"\\u0019dDcC-+.eEtrufalsn \t\u{b}\u{1}\u{7f}é\0",
    };
    oracle.agree("json", &values).await;
    oracle.agree("jsonb", &values).await;
}

#[tokio::test]
async fn network_addresses_agree() {
    let mut oracle = Oracle::new().await;
    let octet = "(0|1[0-9]{0,2}|2[0-4][0-9]|25[0-5])";
    let v4 = format!("{octet}\\.{octet}\\.{octet}\\.{octet}");
    let v4_odd = "[0-9]{1,4}(\\.[0-9]{1,4}){0,5}(/[0-9]{0,3})?";
    let full = "([0-9a-f]{1,4}:){7}[0-9a-fA-F]{1,4}";
    let zeros = "([0-9a-f]{1,4}:){0,4}:([0-9a-f]{1,4}:){0,2}[0-9a-f]{0,4}(/[0-9]{1,3})?";
    let mapped = format!("::(ffff:)?{v4}(/[0-9]{{1,3}})?");
    let alphabet = "0123456789abcdefg:./xX -+";
    let inet = Values {
        common: &[&v4, &format!("{v4}/([0-9]|[12][0-9]|3[0-2])"), full, "fe80::[0-9a-f]{1,4}/64", "::1?"],
        odd: &[v4_odd, zeros, &mapped, "0x[0-9a-f]{1,8}(/[0-9])?", "[0-9a-f:.]{1,12}"],
        alphabet,
    };
    oracle.agree("inet", &inet).await;
    let cidr = Values {
        common: &[
            &v4,
            &format!("{octet}\\.{octet}\\.{octet}\\.0/24"),
            &format!("{octet}\\.0\\.0\\.0/8"),
            full,
            "2001:db8:[0-9a-f]{1,4}::/48",
            "::/0",
        ],
        odd: &[&format!("{v4}/[0-9]{{1,2}}"), v4_odd, zeros, &mapped, "0x[0-9a-f]{1,8}(/[0-9])?"],
        alphabet,
    };
    oracle.agree("cidr", &cidr).await;
}

#[tokio::test]
async fn mac_addresses_agree() {
    let mut oracle = Oracle::new().await;
    let alphabet = "0123456789abcdefgF:-. x+";
    let six = [
        "([0-9a-f]{2}:){5}[0-9a-f]{2}",
        "([0-9A-F]{2}-){5}[0-9A-F]{2}",
        "[0-9a-f]{6}[:-][0-9a-f]{6}",
        "([0-9a-f]{4}\\.){2}[0-9a-f]{4}",
        "([0-9a-f]{4}-){2}[0-9a-f]{4}",
        "[0-9a-fA-F]{12}",
    ];
    let odd = ["([0-9a-f]{1,2}[:.-]){5,7}[0-9a-f]{1,2}", "([0-9a-f]{2}[:.-]?){5,9}", "([0-9a-f]{2}:?){6}"];
    oracle.agree("macaddr", &Values { common: &six, odd: &odd, alphabet }).await;
    let eight = ["([0-9a-f]{2}:){7}[0-9a-f]{2}", "([0-9A-F]{2}-){7}[0-9A-F]{2}", "[0-9a-f]{16}"];
    oracle.agree("macaddr8", &Values { common: &[&six[..], &eight].concat(), odd: &odd, alphabet }).await;
}

#[tokio::test]
async fn enums_and_domains_agree() {
    let mut oracle = Oracle::new().await;
    oracle
        .execute(
            "CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy', '', 'glücklich', 'NULL', 'a,b\"');
             CREATE DOMAIN mild AS mood CHECK (VALUE <> 'sad');
             CREATE DOMAIN small AS integer CHECK (VALUE < 100);
             CREATE DOMAIN smaller AS small NOT NULL CHECK (VALUE < 10);
             CREATE DOMAIN price AS numeric(6,2);
             CREATE DOMAIN code AS varchar(3);
             CREATE DOMAIN pair AS integer[] CHECK (cardinality(VALUE) = 2)",
        )
        .await;
    let moods = Values {
        common: &["(sad|ok|very happy|glücklich)"],
        odd: &["(SAD|Ok|happy|null|NULL| ok |.{0,2})", "[a-z]{60,70}"],
        alphabet: "sadok vryhp\0",
    };
    oracle.agree("mood", &moods).await;
    oracle.agree("mild", &moods).await;
    let numbers = Values { common: &["[0-9]{1,3}"], odd: &["-?[0-9.]{1,9}"], alphabet: "0123456789-. " };
    for domain in ["small", "smaller", "price", "code"] {
        oracle.agree(domain, &numbers).await;
    }
    let arrays = Values {
        common: &["\\{[0-9]{1,2},[0-9]{1,2}\\}"],
        odd: &["\\{([0-9]{1,2},){0,2}[0-9]\\}"],
        alphabet: "{},0123456789\" ",
    };
    oracle.agree("pair", &arrays).await;
    let arrays = Values {
        common: &["\\{(sad|ok|\"very happy\"),NULL,glücklich\\}"],
        odd: &["\\{(sad|very happy|\"NULL\"|\"\"|,){1,3}\\}"],
        alphabet: "{},\"\\ sadokNUL",
    };
    oracle.agree("mood[]", &arrays).await;
    oracle.agree("mild[]", &arrays).await;
    let arrays = Values {
        common: &["\\{([0-9]{1,2},){0,2}[0-9]\\}"],
        odd: &["\\{((NULL|[0-9]{1,3}),){0,2}[0-9]\\}", "\\{\"(\\{[0-9]{1,2},[0-9]\\}|)\"\\}"],
        alphabet: "{},0123456789\"NUL ",
    };
    for sql_type in ["small[]", "smaller[]", "price[]", "code[]", "pair[]"] {
        let common = if sql_type == "pair[]" { &["\\{\"\\{1,2\\}\"(,NULL)?\\}"][..] } else { arrays.common };
        oracle.agree(sql_type, &Values { common, ..arrays }).await;
    }
}

#[tokio::test]
async fn arrays_agree() {
    let mut oracle = Oracle::new().await;
    let numbers = Values {
        common: &[
            "\\{\\}",
            "\\{(-?[0-9]{1,3},){0,5}[0-9]{1,3}\\}",
            "\\{ ?((NULL|[0-9]{1,3}) ?, ?){0,5}[0-9]{1,3} ?\\}",
            "\\{\\{[0-9],[0-9]\\},\\{[0-9],[0-9]\\}\\}",
            "\\[(0:2|-2:0|5:7)\\]=\\{[0-9],[0-9],NULL\\}",
            "\\[0:1\\]\\[1:1\\]=\\{\\{[0-9]\\},\\{null\\}\\}",
        ],
        odd: &[
            "\\{(\\{([0-9],){0,2}[0-9]\\},){0,2}\\{([0-9],){0,2}[0-9]\\}\\}",
            "\\{{1,7}[0-9]\\}{1,7}",
            "\\{(\\{\\},?){0,3}\\}",
            "(\\[-?[0-9]{1,2}:-?[0-9]{1,2}\\]){1,2}=\\{{1,2}([0-9],){0,2}[0-9]\\}{1,2}",
            "\\[[0-9:+ -]{1,4}\\] ?= ?\\{[0-9](,[0-9]){0,3}\\}",
            "[\\[\\]{},0-9\" \\\\]{0,9}",
            "[ \t\n\r\u{b}\u{c}]?\\{[ \t\n\r\u{b}\u{c}]?[0-9][ \t\n\r\u{b}\u{c}]?\\}[ \t\n\r\u{b}\u{c}]?",
            "\\[(2147483647|-2147483648|999999999):(2147483647|999999999)\\]=\\{1\\}",
        ],
        alphabet: "{},[]:=0123456789\"\\NULnul -\t\u{b}\0",
    };
    for sql_type in ["integer[]", "smallint[][]", "numeric(4,1)[]"] {
        oracle.agree(sql_type, &numbers).await;
    }
    let texts = Values {
        common: &[
            "\\{([a-zé漢]{1,5},){0,3}\"[a-z ,{}é]{0,5}\"\\}",
            "\\{([a-z]{1,3}( [a-z]{1,3})?, ?){0,3}[a-z]\\}",
            r#"\{("([a-z]|\\"|\\\\){0,5}",){0,3}NULL\}"#,
            r#"\{\{(a|"null"),b\},\{c,NULL\}\}"#,
        ],
        odd: &[
            r#"\{([a-z "\\,{}]{0,6},?){0,3}\}"#,
            r"\{[a-z]?\\?[a-z ]\\? {0,2}\\? {0,2}\}",
            r#"\{ ?"?[nN][uU]\\?[lL]{1,2}"? ?\}"#,
        ],
        alphabet: "{},\"\\ \tabNUL[]=:é;\0",
    };
    for sql_type in ["text[]", "varchar(3)[]", "char(3)[]", "name[]", "bytea[]", "jsonb[]"] {
        let common = if sql_type.len() > 6 { &["\\{\\}"][..] } else { texts.common };
        let common =
            if sql_type == "bytea[]" { &[r#"\{"\\\\x([0-9a-f]{2}){0,3}",NULL\}"#][..] } else { common };
        oracle.agree(sql_type, &Values { common, ..texts }).await;
    }
    oracle.execute("SET array_nulls = off").await;
    oracle.agree("text[]", &Values { common: &["\\{\"null\",[0-9]\\}"], ..texts }).await;
    // Numbers of years, and much else between braces.
    let uuids = Values {
        common: &["\\{([0-9a-f]{32},){0,2}[0-9a-f]{32}\\}"],
        odd: &["\\{\"?\\{?[0-9a-f]{32}\\}?\"?\\}"],
        alphabet: "{},\"\\-0123456789abcdef",
    };
    oracle.agree("uuid[]", &uuids).await;
}

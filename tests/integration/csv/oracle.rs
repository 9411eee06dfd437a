//! The parser against the server's own `COPY … (FORMAT csv)`: both read the same rows, or both refuse the text.

use bytes::Bytes;
use futures::SinkExt as _;
use postgres_etl::csv::{DEFAULT_MAX_RECORD_BYTES, Dialect, Field, Records};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support;

/// The number of columns of the table that the server copies into.
const COLUMNS: usize = 3;

const CASES: usize = 6000;

type Rows = Vec<Vec<Option<String>>>;

/// `text` as our parser reads it, as rows of [`COLUMNS`] fields.
fn ours(text: &[u8], dialect: &Dialect) -> Result<Rows, String> {
    let mut records = Records::new(text, "x.csv", dialect.clone(), DEFAULT_MAX_RECORD_BYTES);
    let (mut rows, mut scratch) = (Rows::new(), Vec::new());
    while let Some(record) = records.next().map_err(|error| error.to_string())? {
        if record.len() != COLUMNS {
            return Err(format!("line {} has {} fields", record.line, record.len()));
        }
        let fields = (0..COLUMNS).map(|index| match record.field(index, &mut scratch) {
            Field::Null => None,
            Field::Value(value) => Some(String::from_utf8(value.to_vec()).expect("the alphabet is ASCII")),
        });
        rows.push(fields.collect());
    }
    Ok(rows)
}

/// `text` as the server reads it.
async fn servers(client: &Client, text: &[u8], copy: &str) -> Result<Rows, String> {
    let mut sink = Box::pin(client.copy_in::<_, Bytes>(copy).await.expect("the dialect is valid"));
    sink.send(Bytes::copy_from_slice(text)).await.expect("the connection stands");
    if let Err(error) = sink.as_mut().finish().await {
        let db = error.as_db_error().expect("the server says why");
        return Err(format!("{} ({})", db.message(), db.where_().unwrap_or_default()));
    }
    let found = client.simple_query("SELECT a, b, c FROM t ORDER BY n").await;
    let rows = found.unwrap().into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..COLUMNS).map(|index| row.get(index).map(str::to_owned)).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// A mostly well-formed text into which a few stray bytes are inserted.
fn text(random: &mut ChaCha8Rng, dialect: &Dialect) -> Vec<u8> {
    let Dialect { delimiter, quote, escape, nulls, .. } = dialect;
    let line_end: &[u8] = [&b"\n"[..], b"\r\n", b"\r"][random.random_range(0..3)];
    let quote = quote.expect("every dialect has a quote");
    let any = [*delimiter, quote, *escape, b'\r', b'\n', b'x', b' ', b'N'];
    let mut text = Vec::new();
    for _ in 0..random.random_range(0..4) {
        for column in 0..COLUMNS {
            if column > 0 {
                text.push(*delimiter);
            }
            match random.random_range(0..6) {
                0 => {}
                1 => text.extend_from_slice(&nulls[0]),
                2 => text.extend_from_slice(b"x"),
                3 => text.extend_from_slice(&[quote, quote]),
                _ => {
                    text.push(quote);
                    for _ in 0..random.random_range(0..5) {
                        let byte = any[random.random_range(0..any.len())];
                        if byte == quote {
                            text.push(*escape);
                        }
                        text.push(byte);
                    }
                    text.push(quote);
                }
            }
        }
        text.extend_from_slice(line_end);
    }
    if random.random_bool(0.3) {
        text.truncate(text.len().saturating_sub(line_end.len()));
    }
    for _ in 0..random.random_range(0..3) {
        let (at, byte) = (random.random_range(0..=text.len()), any[random.random_range(0..any.len())]);
        text.insert(at, byte);
    }
    text
}

/// `bytes` as an SQL literal.
fn literal(bytes: &[u8]) -> String {
    format!("'{}'", String::from_utf8_lossy(bytes).replace('\'', "''"))
}

// The alphabet has no full stop, because servers before 18 take a line `\.` for the end of the data, and our parser
// does not.
#[tokio::test]
async fn csv_is_read_as_copy_reads_it() {
    let database = support::database().await;
    let client = database.connect().await;
    client
        .batch_execute(
            "CREATE TEMP TABLE t (n int GENERATED ALWAYS AS IDENTITY, a text, b text, c text);
             SET standard_conforming_strings = on",
        )
        .await
        .unwrap();
    let default = Dialect { header: false, ..Dialect::default() };
    let dialects = [
        default.clone(),
        Dialect { escape: b'\\', ..default.clone() },
        Dialect {
            delimiter: b'\t',
            quote: Some(b'\''),
            escape: b'\'',
            nulls: vec![(*b"N").into()],
            ..default.clone()
        },
        Dialect { delimiter: b';', escape: b'x', nulls: vec![(*b"xN").into()], ..default.clone() },
        Dialect { escape: b',', ..default },
    ];
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut read, mut refused) = (0, 0);
    // All cases run in one transaction, so that none waits for the disk; each is rolled back to the savepoint.
    client.batch_execute("BEGIN; SAVEPOINT s").await.unwrap();
    for case in 0..CASES {
        let dialect = &dialects[case % dialects.len()];
        let text = text(&mut random, dialect);
        let copy = format!(
            "COPY t (a, b, c) FROM STDIN (FORMAT csv, DELIMITER {}, QUOTE {}, ESCAPE {}, NULL {})",
            literal(&[dialect.delimiter]),
            literal(dialect.quote.as_slice()),
            literal(&[dialect.escape]),
            literal(&dialect.nulls[0])
        );
        let (ours, theirs) = (ours(&text, dialect), servers(&client, &text, &copy).await);
        client.batch_execute("ROLLBACK TO s").await.unwrap();
        let shown = String::from_utf8_lossy(&text);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{shown:?} with {dialect}"),
            (Err(_), Err(_)) => refused += 1,
            _ => panic!("{shown:?} with {dialect}: we say {ours:?}, the server {theirs:?}"),
        }
        read += usize::from(ours.is_ok());
    }
    assert!(read > CASES / 4 && refused > CASES / 10, "{read} were read, {refused} refused");
}

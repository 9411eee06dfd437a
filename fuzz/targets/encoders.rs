//! Every encoder against the input function of its type: with `FUZZ_DATABASE_URL` the server of that URL is asked too.

#![no_main]

use std::env;
use std::error::Error;
use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use postgres_etl::encode::{Encoder, Refusal, SessionParams, Type, TypeKind};
use postgres_types::private::BytesMut;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type as SqlType, to_sql_checked};
use tokio_postgres::{Client, NoTls, Statement};

/// The OID, the OID of the array type, and the name of each type.
const TYPES: [(u32, u32, &str); 23] = [
    (16, 1000, "bool"),
    (17, 1001, "bytea"),
    (19, 1003, "name"),
    (20, 1016, "int8"),
    (21, 1005, "int2"),
    (23, 1007, "int4"),
    (25, 1009, "text"),
    (114, 199, "json"),
    (650, 651, "cidr"),
    (700, 1021, "float4"),
    (701, 1022, "float8"),
    (774, 775, "macaddr8"),
    (829, 1040, "macaddr"),
    (869, 1041, "inet"),
    (1082, 1182, "date"),
    (1083, 1183, "time"),
    (1114, 1115, "timestamp"),
    (1184, 1185, "timestamptz"),
    (1186, 1187, "interval"),
    (1266, 1270, "timetz"),
    (1700, 1231, "numeric"),
    (2950, 2951, "uuid"),
    (3802, 3807, "jsonb"),
];

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    kind: u8,
    is_array: bool,
    field: &'a [u8],
}

/// A value in one of the two formats.
#[derive(Debug)]
struct Raw<'a>(&'a [u8], bool);

impl ToSql for Raw<'_> {
    fn to_sql(&self, _: &SqlType, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &SqlType) -> bool {
        true
    }

    fn encode_format(&self, _: &SqlType) -> Format {
        if self.1 { Format::Binary } else { Format::Text }
    }

    to_sql_checked!();
}

/// What the server sends.
#[derive(Debug, PartialEq)]
struct Sent(Vec<u8>);

impl<'a> FromSql<'a> for Sent {
    fn from_sql(_: &SqlType, raw: &'a [u8]) -> Result<Sent, Box<dyn Error + Sync + Send>> {
        Ok(Sent(raw.to_vec()))
    }

    fn accepts(_: &SqlType) -> bool {
        true
    }
}

/// A server to ask.
struct Oracle {
    runtime: Runtime,
    client: Client,
    /// For each type, and for arrays of it.
    statements: Vec<[Statement; 2]>,
}

static ORACLE: LazyLock<Option<Oracle>> = LazyLock::new(|| {
    let url = env::var("FUZZ_DATABASE_URL").ok()?;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls)).unwrap();
    runtime.spawn(connection);
    let statements = TYPES.iter().map(|(_, _, name)| {
        ["", "[]"]
            .map(|array| runtime.block_on(client.prepare(&format!("SELECT $1::{name}{array}"))).unwrap())
    });
    let statements = statements.collect();
    Some(Oracle { runtime, client, statements })
});

impl Oracle {
    /// What the server makes of `value`; `None` if it refuses it.
    fn ask(&self, statement: &Statement, value: Raw<'_>) -> Option<Sent> {
        let answer = self.runtime.block_on(self.client.query_one(statement, &[&value]));
        answer
            .map(|row| row.get(0))
            .inspect_err(|error| assert!(error.as_db_error().is_some(), "{error}"))
            .ok()
    }
}

/// Whether the value of `encoder` for a field depends only on the field and the session that the server has by default.
fn check(case: &Case<'_>) {
    let index = usize::from(case.kind) % TYPES.len();
    let (oid, _, _) = TYPES[index];
    let base = Type { oid, kind: TypeKind::Base };
    let kind = if case.is_array {
        Type { oid: TYPES[index].1, kind: TypeKind::Array { element: Box::new(base), delimiter: b',' } }
    } else {
        base
    };
    let encoder = Encoder::new(&kind, &SessionParams::default()).expect("each of them has an encoder");
    let mut out = b"before".to_vec();
    let encoded = encoder.encode(case.field, &mut out);
    assert!(out.starts_with(b"before") && (encoded.is_ok() || out.len() == 6));
    let (Some(oracle), Err(Refusal::Invalid(_)) | Ok(())) = (&*ORACLE, &encoded) else { return };
    let statement = &oracle.statements[index][usize::from(case.is_array)];
    let theirs = oracle.ask(statement, Raw(case.field, false));
    let ours = encoded.ok().and_then(|()| oracle.ask(statement, Raw(&out[6..], true)));
    assert_eq!(ours, theirs, "{} {}", TYPES[index].2, String::from_utf8_lossy(case.field));
}

fuzz_target!(|case: Case<'_>| check(&case));

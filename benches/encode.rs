//! How fast each type's encoder is, without a server: `cargo bench --bench encode`, `-- numeric` for one type.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use postgres_etl::encode::{Encoder, SessionParams, Type, TypeKind};

/// A type, and values of it as people write them.
fn types() -> Vec<(&'static str, Type, Vec<&'static str>)> {
    let base = |oid| Type { oid, kind: TypeKind::Base };
    let array = |oid, element| Type {
        oid,
        kind: TypeKind::Array { element: Box::new(base(element)), delimiter: b',' },
    };
    let labels = ["sad", "ok", "happy"].map(str::to_owned).to_vec();
    vec![
        ("smallint", base(21), vec!["7", "-12", "32767"]),
        ("integer", base(23), vec!["7", "-1234", "2147483647"]),
        ("bigint", base(20), vec!["7", "-1234567890", "9223372036854775807"]),
        ("real", base(700), vec!["0.5", "-273.15", "6.02e23"]),
        ("double precision", base(701), vec!["0.5", "52.520008", "-1.7976931348623157e308"]),
        ("numeric", base(1700), vec!["19.99", "-1234567.8901", "12345678901234567890.123456789"]),
        ("boolean", base(16), vec!["true", "f", "0"]),
        ("text", base(25), vec!["Ada", "Grace Hopper", "São Tomé and Príncipe"]),
        ("name", base(19), vec!["pg_class", "persons_pkey", "a"]),
        ("bytea", base(17), vec!["\\x00ff", "\\xdeadbeefdeadbeefdeadbeefdeadbeef", "abc\\\\"]),
        ("date", base(1082), vec!["2021-12-31", "1999-01-01", "2024-02-29"]),
        ("time", base(1083), vec!["23:59:59", "08:30:00.25"]),
        ("timetz", base(1266), vec!["23:59:59+01", "08:30:00.25Z"]),
        ("timestamp", base(1114), vec!["2021-12-31 23:59:59", "2021-12-31 23:59:59.123456"]),
        ("timestamptz", base(1184), vec!["2021-12-31 23:59:59.123456+00", "2021-12-31T23:59:59.123Z"]),
        ("interval", base(1186), vec!["1 year 2 mons 3 days 04:05:06.789", "04:05:06", "P1Y2M3DT4H5M6.7S"]),
        (
            "uuid",
            base(2950),
            vec!["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"],
        ),
        ("json", base(114), vec![r#"{"id": 1, "tags": ["a", "b"], "ok": true}"#, "[1.5, null]"]),
        ("jsonb", base(3802), vec![r#"{"id": 1, "tags": ["a", "b"], "ok": true}"#, "[1.5, null]"]),
        ("inet", base(869), vec!["192.168.0.1", "10.0.0.0/8", "2001:db8::1"]),
        ("cidr", base(650), vec!["192.168.0.0/24", "10.0.0.0/8", "2001:db8::/32"]),
        ("macaddr", base(829), vec!["08:00:2b:01:02:03", "08002b010203"]),
        ("enum", Type { oid: 16_384, kind: TypeKind::Enum(labels) }, vec!["sad", "ok", "happy"]),
        ("integer[]", array(1007, 23), vec!["{1,2,3,4,5}", "{}", "{{1,2},{3,NULL}}"]),
        ("text[]", array(1009, 25), vec![r#"{a,"b c","say \"hi\""}"#, "{Ada,Grace}"]),
    ]
}

fn encode(c: &mut Criterion) {
    let session = SessionParams::default();
    let mut group = c.benchmark_group("encode");
    for (name, column_type, values) in types() {
        let encoder = Encoder::new(&column_type, &session).expect("the type has an encoder");
        let mut out = Vec::with_capacity(1024);
        group.throughput(Throughput::Elements(values.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                for value in &values {
                    encoder.encode(black_box(value.as_bytes()), &mut out).expect("the value is one");
                }
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(std::time::Duration::from_secs(1));
    targets = encode
}
criterion_main!(benches);

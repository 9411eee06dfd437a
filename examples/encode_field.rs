//! Encode the text of a field into the binary format of a PostgreSQL type.
//!
//! ```console
//! $ cargo run --example encode_field -- 1184 '2026-11-24 12:00:00+01'
//! ```
//!
//! The first argument is the OID of a built-in type (`SELECT oid, typname FROM pg_type`), the second the field. The
//! encoder accepts exactly what the server's own input function accepts; a value that only the server can judge is reported as such.

use postgres_etl::encode::{Encoder, Refusal, SessionParams, Type, TypeKind};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(oid), Some(field)) = (arguments.next().and_then(|oid| oid.parse().ok()), arguments.next())
    else {
        eprintln!("give the OID of a type and a field: 23 42");
        std::process::exit(2);
    };
    // What the text of a time or an array means depends on the session; a loader asks the server for these.
    let session = SessionParams::default();
    let Some(encoder) = Encoder::new(&Type { oid, kind: TypeKind::Base }, &session) else {
        println!("only the server reads this type");
        return;
    };
    let mut out = Vec::new();
    match encoder.encode(field.as_bytes(), &mut out) {
        Ok(()) => println!("{out:02x?}"),
        Err(Refusal::Invalid(reason)) => println!("invalid: {reason}"),
        Err(other) => println!("left to the server: {other:?}"),
    }
}

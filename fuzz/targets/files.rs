//! Detection and both formats: no bytes panic, whatever is to be detected, and in whichever format they are.

#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use postgres_etl::csv::{Detect, Dialect, Files, InputFormat, InputReader, Inputs, Syntax};
use tokio::runtime::{Builder, Runtime};

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    detects: bool,
    has_header: bool,
    syntax: u8,
    pad: bool,
    skip_rows: u8,
    text: &'a [u8],
}

/// Where readers that are given to the library are read.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().unwrap());

fuzz_target!(|case: Case<'_>| {
    let _entered = RUNTIME.enter();
    let format = InputFormat {
        syntax: [Syntax::Auto, Syntax::Csv, Syntax::Ndjson][usize::from(case.syntax % 3)],
        detect: if case.detects { Detect::ALL } else { Detect::NONE },
        dialect: Dialect { header: case.has_header, ..Dialect::default() },
        pad: case.pad,
        skip_rows: u64::from(case.skip_rows % 3),
        max_record_bytes: 4096,
        ..InputFormat::default()
    };
    let reader = InputReader::new(Cursor::new(case.text.to_vec()), "x");
    let Ok(mut files) = Files::open(Inputs::from_reader(reader), format) else { return };
    let Ok(_) = files.settle_header(&["id", "name"]) else { return };
    let mut scratch = Vec::new();
    while let Ok(Some((record, _))) = files.next_named() {
        for index in 0..record.len() {
            record.field(index, &mut scratch);
        }
    }
});

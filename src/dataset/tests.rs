use std::collections::HashSet;
use std::fs;

use super::*;
use crate::error::ErrorKind;

const OPTIONS: DatasetOptions =
    DatasetOptions { rows: 10_000, seed: 42, unicode: false, threads: NonZeroUsize::new(1) };

fn generated(options: &DatasetOptions) -> String {
    let mut out = Vec::new();
    let written = write_to(options, &mut out, &Progress::default()).unwrap();
    assert_eq!(written, DatasetSize { rows: options.rows, bytes: out.len() as u64 });
    String::from_utf8(out).unwrap()
}

/// The FNV-1a hash, which is short to write and sufficient to detect a change.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_every_release() {
    let text = generated(&OPTIONS);
    let first_rows: Vec<_> = text.lines().skip(1).take(3).collect();
    assert_eq!(
        first_rows,
        [
            "1,Fausto Douglas,37,false,Lincoln Park,Illinois,United States",
            "2,Edison Boyer,35,false,Acigol,Nevsehir Province,Turkey",
            "3,Jeremie Swaniawski,30,true,Phirangipuram,Andhra Pradesh,India",
        ]
    );
    assert_eq!(fingerprint(&text), 11_560_981_051_173_567_813);
    assert_eq!(
        fingerprint(&generated(&DatasetOptions { unicode: true, ..OPTIONS })),
        16_201_703_699_821_962_516
    );
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let expected = generated(&OPTIONS);
    for threads in [2, 3, 8] {
        let options = DatasetOptions { threads: NonZeroUsize::new(threads), ..OPTIONS };
        assert!(generated(&options) == expected, "{threads} threads");
    }
    assert!(generated(&DatasetOptions { threads: None, ..OPTIONS }) == expected);
}

#[test]
fn another_seed_yields_other_people() {
    assert_ne!(generated(&OPTIONS), generated(&DatasetOptions { seed: 43, ..OPTIONS }));
}

#[test]
fn a_larger_dataset_begins_with_a_smaller_one() {
    let longest = generated(&OPTIONS);
    let block = rows::BLOCK_ROWS;
    for rows in [1, 100, block - 1, block, block + 1, 2 * block] {
        assert!(longest.starts_with(&generated(&DatasetOptions { rows, ..OPTIONS })), "{rows} rows");
    }
}

#[test]
fn every_row_is_a_person_in_a_real_place() {
    for unicode in [false, true] {
        let mut known = HashSet::new();
        for place in csv::Reader::from_reader(places::CITIES.as_bytes()).records() {
            let spelled =
                |name: &str| if unicode { name.to_owned() } else { places::to_ascii(name).into_owned() };
            known.insert(place.unwrap().iter().map(spelled).collect::<Vec<_>>());
        }

        let text = generated(&DatasetOptions { unicode, ..OPTIONS });
        assert_eq!(text.is_ascii(), !unicode);
        assert!(text.starts_with(HEADER));
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let mut ids = 0;
        let (mut ages, mut answers) = (HashSet::new(), HashSet::new());
        for row in reader.records() {
            let row = row.unwrap();
            ids += 1;
            assert_eq!(row[0], ids.to_string());
            assert_eq!(row[1].split(' ').filter(|name| !name.is_empty()).count(), 2, "{row:?}");
            ages.insert(row[2].parse::<u8>().unwrap());
            answers.insert(row[3].to_owned());
            assert!(known.contains(&row.iter().skip(4).map(str::to_owned).collect::<Vec<_>>()), "{row:?}");
        }
        assert_eq!(ids, OPTIONS.rows);
        assert_eq!(ages, (22..=65).collect());
        assert_eq!(answers, HashSet::from(["true".to_owned(), "false".to_owned()]));
    }
}

#[test]
fn a_field_with_a_comma_is_quoted() {
    let text = generated(&DatasetOptions { rows: 100_000, ..OPTIONS });
    assert!(text.contains(r#","Bonaire, Saint Eustatius and Saba""#));
}

#[test]
fn a_number_of_rows_out_of_range_is_a_usage_error() {
    for rows in [0, MAX_ROWS + 1, u64::MAX] {
        let error =
            write_to(&DatasetOptions { rows, ..OPTIONS }, &mut Vec::new(), &Progress::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(&rows.to_string()), "{error}");
    }
}

#[test]
fn the_file_contains_the_rows_that_progress_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("persons.csv");
    let progress = Progress::default();
    let written = write_csv(&OPTIONS, &path, &progress).unwrap();
    assert!(fs::read_to_string(&path).unwrap() == generated(&OPTIONS));
    assert_eq!(written, DatasetSize { rows: progress.rows(), bytes: progress.bytes() });
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_cancelled_run_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let progress = Progress::default();
    progress.cancel();
    for threads in [1, 2] {
        let options = DatasetOptions { threads: NonZeroUsize::new(threads), ..OPTIONS };
        let error = write_csv(&options, &directory.path().join("persons.csv"), &progress).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }
}

#[test]
fn a_failing_output_stops_every_thread() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes == HEADER.as_bytes() { Ok(bytes.len()) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for threads in [1, 3] {
        let options = DatasetOptions { rows: 1_000_000, threads: NonZeroUsize::new(threads), ..OPTIONS };
        let error = write_to(&options, &mut Full, &Progress::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_that_names_the_file_and_a_remedy() {
    let error = write_csv(&OPTIONS, Path::new("/dev/full"), &Progress::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Output);
    assert!(error.to_string().starts_with("failed to write /dev/full: No space left on device"), "{error}");
    assert!(error.help().unwrap().contains("free some space"));
}

use std::collections::HashSet;
use std::fs;

use super::*;
use crate::error::ErrorKind;

const PLAN: Plan = Plan { rows: 10_000, seed: 42, unicode: false, threads: NonZeroUsize::new(1) };

fn generated(plan: &Plan) -> String {
    let mut out = Vec::new();
    let written = write_to(plan, &mut out, &Progress::default()).unwrap();
    assert_eq!(written, Written { rows: plan.rows, bytes: out.len() as u64 });
    String::from_utf8(out).unwrap()
}

/// FNV-1a, which is short enough to write down and fit to notice a change.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_every_release() {
    let text = generated(&PLAN);
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
    assert_eq!(fingerprint(&generated(&Plan { unicode: true, ..PLAN })), 16_201_703_699_821_962_516);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let expected = generated(&PLAN);
    for threads in [2, 3, 8] {
        let plan = Plan { threads: NonZeroUsize::new(threads), ..PLAN };
        assert!(generated(&plan) == expected, "{threads} threads");
    }
    assert!(generated(&Plan { threads: None, ..PLAN }) == expected);
}

#[test]
fn another_seed_gives_other_people() {
    assert_ne!(generated(&PLAN), generated(&Plan { seed: 43, ..PLAN }));
}

#[test]
fn fewer_rows_are_the_beginning_of_more() {
    let longest = generated(&PLAN);
    let block = rows::BLOCK_ROWS;
    for rows in [1, 100, block - 1, block, block + 1, 2 * block] {
        assert!(longest.starts_with(&generated(&Plan { rows, ..PLAN })), "{rows} rows");
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

        let text = generated(&Plan { unicode, ..PLAN });
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
        assert_eq!(ids, PLAN.rows);
        assert_eq!(ages, (22..=65).collect());
        assert_eq!(answers, HashSet::from(["true".to_owned(), "false".to_owned()]));
    }
}

#[test]
fn a_field_with_a_comma_is_quoted() {
    let text = generated(&Plan { rows: 100_000, ..PLAN });
    assert!(text.contains(r#","Bonaire, Saint Eustatius and Saba""#));
}

#[test]
fn a_number_of_rows_that_cannot_be_is_a_usage_error() {
    for rows in [0, MAX_ROWS + 1, u64::MAX] {
        let error = write_to(&Plan { rows, ..PLAN }, &mut Vec::new(), &Progress::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(&rows.to_string()), "{error}");
    }
}

#[test]
fn the_file_holds_the_rows_and_the_counters_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("persons.csv");
    let counters = Progress::default();
    let written = write_csv(&PLAN, &path, &counters).unwrap();
    assert!(fs::read_to_string(&path).unwrap() == generated(&PLAN));
    assert_eq!(written, Written { rows: counters.rows(), bytes: counters.bytes() });
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_cancelled_run_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let counters = Progress::default();
    counters.cancel();
    for threads in [1, 2] {
        let plan = Plan { threads: NonZeroUsize::new(threads), ..PLAN };
        let error = write_csv(&plan, &directory.path().join("persons.csv"), &counters).unwrap_err();
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
        let plan = Plan { rows: 1_000_000, threads: NonZeroUsize::new(threads), ..PLAN };
        let error = write_to(&plan, &mut Full, &Progress::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_that_names_the_file_and_a_remedy() {
    let error = write_csv(&PLAN, Path::new("/dev/full"), &Progress::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Output);
    assert!(error.to_string().starts_with("failed to write /dev/full: No space left on device"), "{error}");
    assert!(error.help().unwrap().contains("free some space"));
}

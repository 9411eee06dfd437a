//! Input that changes, disappears or breaks off while it is loaded.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use crate::loads::{
    BEFORE, HalfLoad, KINDS, Kind, RECORDS, TABLE, check_complete, csv, wait_until_half_loaded,
};
use crate::support::workplace::{ProgramOutput, Workplace};

/// What happens to a file before it is opened to be loaded.
#[derive(Debug, Clone, Copy)]
enum Change {
    Truncated,
    Grown,
    /// By another file of the same size.
    Replaced,
    Removed,
}

impl Change {
    fn happen(self, path: &Path) {
        let text = fs::read_to_string(path).unwrap();
        match self {
            // The end of a record, so that nothing but the size tells.
            Change::Truncated => {
                let end = text[..text.len() / 2].rfind('\n').unwrap() + 1;
                File::options().write(true).open(path).unwrap().set_len(end as u64).unwrap();
            }
            Change::Grown => {
                File::options().append(true).open(path).unwrap().write_all(b"9999,v9999\n").unwrap();
            }
            Change::Replaced => {
                let other = path.with_extension("other");
                fs::write(&other, text).unwrap();
                fs::rename(other, path).unwrap();
            }
            Change::Removed => fs::remove_file(path).unwrap(),
        }
    }

    /// What the message says of it.
    fn says(self) -> &'static str {
        match self {
            Change::Removed => "failed to open rest.csv: No such file or directory",
            _ => "rest.csv changed while it was loaded",
        }
    }
}

/// Check that nothing of the load is left in the table, or whole chunks; the end of an input ends one.
async fn check_left(kind: Kind, workplace: &Workplace, when: &str) {
    let rows = workplace.count("t").await - 1;
    let is_whole = rows % 1000 == 0 || (rows - i64::from(BEFORE)) % 1000 == 0;
    assert!(rows == 0 || kind.is_import && is_whole, "{when}: {rows} rows");
}

/// Half of the records come from standard input, at whose end the file is opened.
#[tokio::test]
async fn a_file_that_is_not_what_it_was_ends_a_load_and_can_be_loaded_once_it_is() {
    for kind in KINDS {
        for change in [Change::Truncated, Change::Grown, Change::Replaced, Change::Removed] {
            let when = format!("{change:?}, {:?}", kind.flags);
            let workplace = Workplace::with_sql(TABLE).await;
            let rest = format!("id,v\n{}", csv(BEFORE, RECORDS));
            let path = workplace.write("rest.csv", &rest);
            let load = HalfLoad::start_with(&workplace, kind, &["rest.csv"]).await;
            change.happen(&path);
            let ran = load.end_input();
            assert_eq!(ran.status.code(), Some(1), "{when}: {ran:#?}");
            assert!(ran.stderr.contains(change.says()), "{when}: {ran:#?}");
            check_left(kind, &workplace, &when).await;
            workplace.write("rest.csv", &rest);
            let ran =
                workplace.run_with_input(&[&kind.arguments()[..], &["rest.csv"]].concat(), csv(0, BEFORE));
            assert_eq!(ran.status.code(), Some(0), "{when}: {ran:#?}");
            check_complete(&workplace, &when).await;
        }
    }
}

/// Standard input is a connection that is reset in the middle of the records.
#[tokio::test]
async fn an_input_that_breaks_off_with_an_error_ends_a_load() {
    for kind in KINDS {
        let when = format!("{:?}", kind.flags);
        let workplace = Workplace::with_sql(TABLE).await;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut input = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stdin, _) = listener.accept().unwrap();
        let mut command = workplace.command(&kind.arguments());
        command.stdin(Stdio::from(OwnedFd::from(stdin))).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut load = command.spawn().unwrap();
        // It has the program's end of the connection.
        drop(command);
        input.write_all(csv(0, BEFORE).as_bytes()).unwrap();
        wait_until_half_loaded(&workplace, kind, &mut load).await;
        rustix::net::connect_unspec(&input).unwrap();
        let ran = ProgramOutput::from_child(load);
        assert_eq!(ran.status.code(), Some(1), "{when}: {ran:#?}");
        assert!(
            ran.stderr.contains("failed to read standard input: Connection reset by peer"),
            "{when}: {ran:#?}"
        );
        check_left(kind, &workplace, &when).await;
        kind.complete(&workplace, &when).await;
    }
}

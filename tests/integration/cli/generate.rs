//! `generate`: output that cannot be written, and arguments out of range.

use std::process::Stdio;

use crate::support::workplace::{ProgramOutput, Workplace};

#[test]
fn unwritable_output_fails_at_once() {
    let workplace = Workplace::without_database();
    let message = workplace.fail(&["generate", "-n", "1000000", "-o", "no/such/place.csv"], 1);
    assert!(message.contains("no/such/place.csv"), "{message}");
    insta::assert_snapshot!(workplace.fail(&["generate", "-n", "0"], 2), @r"
    error: -n 0 asks for no people
      help: give a number from 1 up
    ");
    // Standard output on a full device.
    let mut command = workplace.command(&["generate", "-n", "1000", "-o", "-"]);
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let ran = ProgramOutput::from_child(command.stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:#?}");
}

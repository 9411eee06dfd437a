//! The files that a load writes, and the names it prints.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use crate::support::workplace::{ProgramOutput, Workplace};

async fn workplace() -> Workplace {
    Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", "id\n1\nx\n")
}

const LOAD: [&str; 8] =
    ["load", "data.csv", "-t", "t", "--append", "--receipt", "receipt.json", "--max-rejects=1"];

const OUTPUTS: [&str; 3] = ["receipt.json", "rejects.csv", "rejects.log.jsonl"];

#[tokio::test]
async fn outputs_are_their_owners_alone_unless_they_replace_files_of_others() {
    let workplace = workplace().await;
    let mode = |name| fs::metadata(workplace.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(workplace.run(&LOAD).status.code(), Some(3));
    for name in OUTPUTS {
        assert_eq!(mode(name), 0o600, "{name}");
        fs::set_permissions(workplace.path(name), Permissions::from_mode(0o640)).unwrap();
    }
    assert_eq!(workplace.run(&LOAD).status.code(), Some(3));
    for name in OUTPUTS {
        assert_eq!(mode(name), 0o640, "{name} keeps its permissions");
    }
}

#[tokio::test]
async fn outputs_follow_symbolic_links() {
    let workplace = workplace().await;
    fs::create_dir(workplace.path("elsewhere")).unwrap();
    for name in OUTPUTS {
        // A chain of links, the last of which leads to nothing yet.
        symlink(workplace.path("elsewhere").join(name), workplace.path(format!("{name}.link"))).unwrap();
        symlink(format!("{name}.link"), workplace.path(name)).unwrap();
    }
    assert_eq!(workplace.run(&LOAD).status.code(), Some(3));
    for name in OUTPUTS {
        for link in [name.to_owned(), format!("{name}.link")] {
            assert!(fs::symlink_metadata(workplace.path(&link)).unwrap().is_symlink(), "{link}");
        }
        assert!(fs::metadata(workplace.path("elsewhere").join(name)).unwrap().len() > 0, "{name}");
    }
}

#[tokio::test]
async fn names_of_files_do_not_reach_the_terminal_as_they_are() {
    let workplace = workplace().await;
    let name = "a\nb\u{1b}[31m\u{202e}.csv";
    workplace.write(name, "id\n1\nx\n");
    let escaped = r"a\nb\u{1b}[31m\u{202e}.csv";
    let ran = workplace.run(&["load", name, "-t", "t", "--append"]);
    assert!(ran.stderr.contains(&format!("{escaped}, line 3")), "{ran:#?}");
    let ran = workplace.run(&["load", name, "-t", "t", "--append", "--max-rejects=1", "--receipt", "r.json"]);
    assert!(ran.stdout.contains(&format!("  file    {escaped}, ")), "{ran:#?}");
    assert_eq!(workplace.read_json("r.json")["files"][0]["path"], name);
    for text in [ran.stdout, ran.stderr, workplace.read("rejects.log.jsonl")] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }
    let missing = workplace.fail(&["load", "no\u{1b}]0;such.csv", "-t", "t"], 1);
    assert!(missing.contains(r"no\u{1b}]0;such.csv"), "{missing}");
}

#[tokio::test]
async fn a_url_in_the_place_of_a_file_is_not_quoted() {
    let workplace = workplace().await;
    for command in [&["load", "-t", "t"][..], &["check"]] {
        let ran = workplace.run(&[command, &["postgres://me:sekrit@host/db"]].concat());
        assert!(!ran.status.success(), "{ran:#?}");
        assert!(!ran.stdout.contains("sekrit") && !ran.stderr.contains("sekrit"), "{ran:#?}");
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains("a file is expected, not a URL"), "{said}");
    }
}

/// The directory may be read-only by now, or the disk full.
#[tokio::test]
async fn an_earlier_receipt_does_not_outlast_a_receipt_that_cannot_be_written() {
    let workplace = workplace().await;
    let receipt = r#"{"command": "load", "outcome": "committed"}"#;
    workplace.write("receipt.json", receipt);
    let program = workplace.command(&LOAD);
    // It may not write to files, as on a full disk.
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]).arg(program.get_program());
    limited.args(program.get_args()).current_dir(workplace.path("")).stdin(Stdio::null());
    limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = ProgramOutput::from_command(limited);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("failed to write the receipt"), "{ran:#?}");
    assert!(ran.stderr.contains("the receipt of an earlier load was removed"), "{ran:#?}");
    assert!(!ran.stderr.contains("at path"), "{ran:#?}");
    assert!(!workplace.path("receipt.json").exists());
}

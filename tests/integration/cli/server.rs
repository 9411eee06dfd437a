//! `server`: the embedded server, started and stopped by command.

use crate::support::workplace::{ProgramOutput, Workplace};

#[test]
fn the_embedded_server_is_started_and_stopped_by_command() {
    let workplace = Workplace::without_database();
    // If root runs the tests, the server's user must be able to enter the directory.
    let dir = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let server = |action: &[&str]| {
        let mut command = workplace.command(&[&["server"], action].concat());
        command.env("POSTGRES_ETL_SERVER_DIR", dir.path());
        ProgramOutput::from_command(command)
    };
    let status = server(&["status"]);
    assert!(status.stdout.starts_with("not running") && status.status.code() == Some(3), "{status:#?}");
    let started = server(&["start", "--json"]);
    assert!(started.status.success(), "{started:#?}");
    assert_eq!(started.json()["origin"], "initialised");
    let url = server(&["url"]).stdout;
    assert!(url.starts_with("postgresql:///postgres?host="), "{url}");
    let status = server(&["status"]);
    assert!(status.stdout.starts_with("running") && status.status.success(), "{status:#?}");
    // A command to which no server is named uses it.
    workplace.write("people.csv", "id\n1\n");
    let mut load = workplace.command(&["load", "people.csv"]);
    load.env("POSTGRES_ETL_SERVER_DIR", dir.path());
    let loaded = ProgramOutput::from_command(load);
    assert!(loaded.stdout.starts_with("loaded 1 row "), "{loaded:#?}");
    assert_eq!(server(&["stop"]).stdout, "stopped\n");
    assert_eq!(server(&["stop"]).stdout, "it was not running\n");
}

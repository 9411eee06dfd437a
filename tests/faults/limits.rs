//! Limits of the server that end a load in the middle: time-outs, a deadlock, connections, and privileges.

use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::loads::{DROP, HalfLoad, KINDS, Kind, RECORDS, TABLE, TryingImport, check_complete, csv};
use crate::support;
use crate::support::TestDb;
use crate::support::load::wait_until;
use crate::support::own_server::OwnServer;
use crate::support::workplace::{ProgramOutput, Workplace};

/// A row at which the server waits, among those that are read after the table is locked; of an import, in the third chunk.
pub(crate) const SLOW_ROW: u32 = 2900;

/// A database with the table, whose trigger does `action` at [`SLOW_ROW`], and with `setting`.
pub(crate) async fn workplace_that(database: &TestDb, action: &str, setting: &str) -> Workplace {
    let workplace = Workplace::on(database).await;
    let name: String = workplace.value("SELECT current_database()::text").await;
    workplace
        .execute(&format!(
            "{DROP}; {TABLE};
             CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN IF NEW.id = {SLOW_ROW} THEN {action}; END IF; RETURN NEW; END $$;
             CREATE TRIGGER waits BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wait();
             ALTER DATABASE {name} SET {setting}"
        ))
        .await;
    workplace
}

/// Check that a load of `kind` that ended as `ran` failed and `says` why, and succeeds when it is run again without what
/// disturbed it.
async fn check_failed(workplace: &Workplace, kind: Kind, ran: ProgramOutput, says: &str) {
    let when = format!("{says}, {:?}", kind.flags);
    let ends_the_session = says == "25P03";
    assert!(
        ran.status.code() == Some(1) || ends_the_session && ran.status.code() == Some(4),
        "{when}: {ran:#?}"
    );
    assert!(ran.stderr.contains(says) && !ran.stderr.contains("panicked"), "{when}: {ran:#?}");
    if kind.is_import {
        assert!(ran.stderr.contains("2 chunks of import i, with 2000 records, are committed"), "{ran:#?}");
    }
    let name: String = workplace.value("SELECT current_database()::text").await;
    workplace.execute(&format!("ALTER DATABASE {name} RESET ALL; DROP TRIGGER waits ON t")).await;
    kind.check_undone(workplace, &when).await;
    kind.complete(workplace, &when).await;
}

#[tokio::test]
async fn a_time_out_of_the_server_ends_a_load_that_can_be_run_again() {
    let database = support::database().await;
    let holder = database.connect().await;
    holder.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    for (action, setting, sqlstate) in [
        ("PERFORM pg_sleep(3600)", "statement_timeout = '1s'", "57014"),
        ("PERFORM pg_advisory_xact_lock(1)", "lock_timeout = '1s'", "55P03"),
    ] {
        for kind in KINDS {
            let workplace = workplace_that(&database, action, setting).await;
            let load = HalfLoad::begin(&workplace, kind, &[]);
            check_failed(&workplace, kind, load.finish(), sqlstate).await;
        }
    }
}

#[tokio::test]
async fn a_session_that_was_idle_in_its_transaction_for_too_long_ends_a_load() {
    let database = support::database().await;
    // A COPY that waits for rows is not idle.
    let import_in_rows =
        Kind { flags: &["--mode", "rows", "--import-id", "i", "--chunk-rows", "1000"], is_import: true };
    let kinds = KINDS.into_iter().chain([import_in_rows]);
    for kind in kinds.filter(|kind| !kind.flags.contains(&"copy")) {
        let setting = "idle_in_transaction_session_timeout = '1s'";
        let workplace = workplace_that(&database, "NULL", setting).await;
        // While the input is silent, it does not help to load the same records again.
        let retries: &[&str] = if kind.is_import { &["--retries", "1"] } else { &[] };
        let load = HalfLoad::begin(&workplace, kind, retries);
        check_failed(&workplace, kind, load.wait(), "25P03").await;
    }
}

/// The other session waits for the table before the load waits for the other session, and would look for a deadlock only an
/// hour later. Nor does the server look where the program does so as well, which would say it in other words.
#[tokio::test]
async fn a_deadlock_ends_a_load_and_an_import_tries_its_chunk_again() {
    let database = support::database().await;
    for kind in KINDS {
        let is_watched = kind.flags.contains(&"--connections");
        let (setting, says) = if is_watched {
            ("deadlock_timeout = '1h'", "deadlock: one connection of the load waits for the session")
        } else {
            ("deadlock_timeout = '10ms'", "40P01")
        };
        let workplace = workplace_that(&database, "PERFORM pg_advisory_xact_lock(1)", setting).await;
        let other = database.connect().await;
        other.batch_execute("SET deadlock_timeout = '1h'; BEGIN").await.unwrap();
        other.batch_execute("SELECT pg_advisory_xact_lock(1)").await.unwrap();
        let load = HalfLoad::start(&workplace, kind).await;
        let locking = tokio::spawn(async move { other.batch_execute("LOCK TABLE t; ROLLBACK").await });
        let waits = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted
                       AND mode = 'AccessExclusiveLock'";
        wait_until("that the other session waits", async || workplace.value::<i64>(waits).await > 0).await;
        let ran = load.finish();
        locking.await.unwrap().unwrap();
        if kind.is_import {
            assert_eq!(ran.status.code(), Some(0), "{ran:#?}");
            assert!(ran.stderr.contains(says) && ran.stderr.contains("trying again"), "{ran:#?}");
            check_complete(&workplace, "a deadlock").await;
        } else {
            check_failed(&workplace, kind, ran, says).await;
        }
    }
}

/// Those that are reserved for superusers, as the tests are, are taken as well.
#[tokio::test]
async fn a_server_without_a_free_connection_loads_nothing_until_it_has_one() {
    let server = OwnServer::start_with(&[("max_connections", "8"), ("superuser_reserved_connections", "0")]);
    let database = server.database();
    let workplace = Workplace::on(&database).await;
    for kind in KINDS {
        let when = format!("{:?}", kind.flags);
        workplace.execute(&format!("{DROP}; {TABLE}")).await;
        let mut others = Vec::new();
        let full = loop {
            match tokio_postgres::connect(database.url(), NoTls).await {
                Ok((other, connection)) => {
                    tokio::spawn(connection);
                    others.push(other);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(full.code(), Some(&SqlState::TOO_MANY_CONNECTIONS), "{when}: {full}");
        let retries: &[&str] = if kind.is_import { &["--retries", "1"] } else { &[] };
        let ran = workplace.run_with_input(&[&kind.arguments()[..], retries].concat(), csv(0, RECORDS));
        assert_eq!(ran.status.code(), Some(4), "{when}: {ran:#?}");
        assert!(ran.stderr.contains("too many clients already (SQLSTATE 53300)"), "{when}: {ran:#?}");
        assert_eq!(ran.stderr.contains("trying again"), kind.is_import, "{when}: {ran:#?}");
        assert_eq!(workplace.count("t").await, 1, "{when}");
        let waiting = kind.is_import.then(|| TryingImport::start(&workplace, &[]));
        drop(others);
        let sessions = "SELECT count(*) FROM pg_stat_activity
                        WHERE backend_type = 'client backend' AND application_name <> 'postgres-etl'";
        let are_free = async || workplace.value::<i64>(sessions).await == 1;
        wait_until("that the other sessions end", are_free).await;
        if let Some(import) = waiting {
            import.succeed();
            check_complete(&workplace, &when).await;
            continue;
        }
        kind.complete(&workplace, &when).await;
    }
}

/// The trigger reads another table, which the role that loads may not read at first.
#[tokio::test]
async fn a_privilege_that_is_missing_in_the_middle_of_a_load_ends_it_until_it_is_granted() {
    let database = support::database().await;
    for kind in KINDS {
        let when = format!("{:?}", kind.flags);
        let workplace = workplace_that(&database, "PERFORM FROM secret", "lock_timeout = 0").await;
        let name: String = workplace.value("SELECT current_database()::text").await;
        let role = format!("loader_of_{name}");
        workplace
            .execute(&format!(
                "CREATE TABLE secret (); CREATE ROLE {role}; GRANT CREATE ON DATABASE {name} TO {role};
                 GRANT INSERT ON t TO {role}"
            ))
            .await;
        let url = format!("{}&options=-c%20role%3D{role}", database.url());
        let workplace = workplace.at(&url);
        let ran = workplace.run_with_input(&kind.arguments(), csv(0, RECORDS));
        assert_eq!(ran.status.code(), Some(1), "{when}: {ran:#?}");
        assert!(ran.stderr.contains("permission denied for table secret"), "{when}: {ran:#?}");
        kind.check_undone(&workplace, &when).await;
        workplace.execute(&format!("GRANT SELECT ON secret TO {role}")).await;
        kind.complete(&workplace, &when).await;
        workplace.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}; DROP TABLE secret")).await;
    }
}

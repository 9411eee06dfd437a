//! Waiting until the standbys have replayed a load.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::postgres::server::SessionPool;
use crate::progress::Progress;
use crate::{Error, Result};

/// The pause between two looks at the standbys.
const PAUSE: Duration = Duration::from_millis(20);

/// The pause between two requests to the standbys to report their positions.
const REQUEST_PAUSE: Duration = Duration::from_secs(1);

/// A standby reports what it has replayed only every `wal_receiver_status_interval`, 10 s by default, except for the
/// commits that ask for it, as this one does. It changes nothing, and needs no privilege.
const REQUEST: &str = "BEGIN; SET LOCAL synchronous_commit = remote_apply;
    SELECT pg_catalog.pg_logical_emit_message(true, 'postgres_etl', ''); COMMIT";

/// The standbys, without those who only copy the log, as `pg_receivewal` and `pg_basebackup` do, or decode it.
const STANDBYS: &str = "
    SELECT pid, application_name, pg_catalog.host(client_addr), sync_state, state IS NOT NULL,
           replay_lsn >= $1::text::pg_lsn, pg_catalog.pg_wal_lsn_diff($1::text::pg_lsn, replay_lsn)::bigint
    FROM pg_catalog.pg_stat_replication r
    WHERE state IS DISTINCT FROM 'backup' AND (replay_lsn IS NOT NULL OR write_lsn IS NULL)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s
                          WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
    ORDER BY application_name, pid";

/// How the standbys followed a load.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReplicationReport {
    /// The end of the write-ahead log after the commit, such as `0/3000148`, which the standbys had to reach; `None` if
    /// the server did not tell.
    pub lsn: Option<String>,
    /// The standbys that were connected to the server then.
    pub standbys: Vec<StandbyReport>,
}

/// How one standby followed a load.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StandbyReport {
    /// The name that it gives to the server: the `application_name` of its `primary_conninfo`.
    pub name: String,
    /// The IP address that it connects from; `None` for a Unix socket, and where the role may not see it.
    pub address: Option<String>,
    /// `async`, `potential`, `sync` or `quorum`; `None` where the role may not see it.
    pub sync_state: Option<String>,
    /// How long after the commit it was seen to have replayed the load, in seconds; `None` if it was not.
    pub replayed_after_seconds: Option<f64>,
    /// Why it was not; `None` if it was.
    pub problem: Option<String>,
}

/// A standby that is waited for.
struct Standby {
    pid: i32,
    report: StandbyReport,
    may_be_seen: bool,
    is_connected: bool,
    /// Bytes of the log that it has yet to replay; `None` if that is not known.
    missing: Option<i64>,
}

/// Wait until the standbys of the server have replayed what was committed at `committed`, for up to `patience`.
///
/// What failed of it is in the messages: there may be no standby, one may be too slow or gone, or the role may not see
/// their positions.
pub(super) async fn wait(
    connections: &SessionPool,
    committed: Instant,
    patience: Duration,
    progress: &Progress,
) -> (ReplicationReport, Vec<String>) {
    let mut report = ReplicationReport::default();
    let watched = tokio::select! {
        watched = watch(connections, committed, patience, progress, &mut report) => watched,
        never = request_positions(connections) => match never {},
    };
    let mut failed: Vec<String> = watched.err().iter().map(ToString::to_string).collect();
    failed.extend(report.standbys.iter().filter_map(|standby| {
        let problem = standby.problem.as_ref()?;
        Some(format!("standby {} is not known to have replayed the load: {problem}", standby.describe()))
    }));
    (report, failed)
}

/// Ask the standbys to report their positions, again and again.
async fn request_positions(connections: &SessionPool) -> Infallible {
    let mut client = None;
    loop {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = connections.open_extra().await.ok();
        }
        if let Some(client) = &client {
            // Without it they report all the same, but later.
            let _ = client.batch_execute(REQUEST).await;
        }
        tokio::time::sleep(REQUEST_PAUSE).await;
    }
}

/// As [`wait`], into `report`.
async fn watch(
    connections: &SessionPool,
    committed: Instant,
    patience: Duration,
    progress: &Progress,
    report: &mut ReplicationReport,
) -> Result<()> {
    let failed = |error| {
        if progress.is_cancelled() {
            Error::interrupted()
        } else {
            Error::database("ask the server about its standbys", error)
        }
    };
    let client = connections.get().await?;
    // Where the commit record may not be written yet, as with synchronous_commit off, it is before this position.
    let sql = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text, current_user::text";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    let (lsn, role): (String, String) = (row.get(0), row.get(1));
    report.lsn = Some(lsn.clone());
    let rows = client.query(STANDBYS, &[&lsn]).await.map_err(failed)?;
    let mut standbys: Vec<Standby> = rows.iter().map(Standby::from_row).collect();
    if standbys.is_empty() {
        return Err(Error::connect("no standby is connected to the server, so none has replayed the load"));
    }
    let mut outcome = Ok(());
    loop {
        match client.query(STANDBYS, &[&lsn]).await {
            Ok(rows) => follow(&mut standbys, &rows, committed),
            Err(error) => outcome = Err(failed(error)),
        }
        let is_waited_for =
            |standby: &Standby| standby.may_be_seen && standby.report.replayed_after_seconds.is_none();
        let is_over = committed.elapsed() >= patience || progress.is_cancelled() || outcome.is_err();
        if is_over || !standbys.iter().any(is_waited_for) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    report.standbys = standbys.into_iter().map(|standby| standby.finish(&role, patience, progress)).collect();
    outcome
}

/// Update `standbys` by `rows`. One that has reconnected is found by its name and address.
fn follow(standbys: &mut [Standby], rows: &[Row], committed: Instant) {
    for index in 0..standbys.len() {
        let is_another = |pid: i32| standbys.iter().any(|other| other.pid == pid);
        let standby = &standbys[index];
        let is_same = |row: &&Row| row.get::<_, i32>(0) == standby.pid;
        let is_back = |row: &&Row| {
            let found = Standby::from_row(row);
            (&found.report.name, &found.report.address) == (&standby.report.name, &standby.report.address)
                && !is_another(found.pid)
        };
        let row = rows.iter().find(is_same).or_else(|| rows.iter().find(is_back));
        let (found, has_replayed) = match row {
            Some(row) => (Some(Standby::from_row(row)), row.get::<_, Option<bool>>(5) == Some(true)),
            None => (None, false),
        };
        let standby = &mut standbys[index];
        standby.is_connected = found.is_some();
        let Some(found) = found.filter(|_| standby.report.replayed_after_seconds.is_none()) else { continue };
        *standby = found;
        if has_replayed {
            standby.report.replayed_after_seconds = Some(committed.elapsed().as_secs_f64());
        }
    }
}

impl Standby {
    fn from_row(row: &Row) -> Standby {
        Standby {
            pid: row.get(0),
            report: StandbyReport {
                name: row.get::<_, Option<String>>(1).unwrap_or_default(),
                address: row.get(2),
                sync_state: row.get(3),
                replayed_after_seconds: None,
                problem: None,
            },
            may_be_seen: row.get(4),
            is_connected: true,
            missing: row.get(6),
        }
    }

    /// Its report once nobody waits for it any more, because it has replayed the load or `patience` is over. The server was
    /// asked as `role`.
    fn finish(self, role: &str, patience: Duration, progress: &Progress) -> StandbyReport {
        let Standby { report, may_be_seen, is_connected, missing, .. } = self;
        let seconds = patience.as_secs_f64();
        let problem = match missing {
            _ if report.replayed_after_seconds.is_some() => None,
            _ if !may_be_seen => {
                Some(format!("role {role} may not see its position; GRANT pg_monitor TO {role} lets it"))
            }
            _ if progress.is_cancelled() => Some("the wait was interrupted".to_owned()),
            _ if !is_connected => Some(format!("it was not connected {seconds} s after the commit")),
            Some(bytes) => {
                Some(format!("it had {bytes} bytes of the log to replay {seconds} s after the commit"))
            }
            None => Some(format!("it had not reported a position {seconds} s after the commit")),
        };
        StandbyReport { problem, ..report }
    }
}

impl StandbyReport {
    /// Its name, with its address if that is known.
    pub fn describe(&self) -> String {
        match &self.address {
            Some(address) => format!("{} ({address})", self.name),
            None => self.name.clone(),
        }
    }
}

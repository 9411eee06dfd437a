//! Connections that are spread over several hosts, so that queries are read from all of them.

use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::postgres::connect_error;
use crate::postgres::connect_failure::{ConnectFailure, FailedAttempt, FailureReason};
use crate::postgres::conninfo::Conninfo;
use crate::postgres::endpoint::Endpoint;
use crate::postgres::options::SessionOptions;
use crate::postgres::pool::{Reached, probe};
use crate::postgres::target_session::TargetSession;

/// Which of the hosts of the connection settings queries are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// The primary.
    Primary,
    /// All standbys.
    Replicas,
    /// All hosts, standbys or not.
    All,
    /// The nodes of the Citus cluster that hold shards, under the names that they have in `pg_dist_node`.
    Nodes,
}

/// A host that cannot be used.
#[derive(Debug, Clone)]
pub(crate) struct UnusableHost {
    pub(crate) endpoint: Endpoint,
    pub(crate) problem: String,
}

/// The hosts that were found.
pub(super) struct FoundHosts {
    /// Settings for each host that can be used, and what is known of it.
    pub(super) usable: Vec<(Conninfo, Reached)>,
    pub(super) unusable: Vec<UnusableHost>,
}

/// The kind of hosts that connections are spread over; `None` if all go to one host.
pub(super) fn wanted(conninfo: &Conninfo, read_from: Option<ReadFrom>) -> Option<TargetSession> {
    let target = conninfo.target_session_attrs();
    let wants_standbys = matches!(target, Some(TargetSession::Standby | TargetSession::PreferStandby));
    match read_from {
        Some(ReadFrom::Replicas) => Some(TargetSession::Standby),
        Some(ReadFrom::All) => Some(TargetSession::Any),
        None if conninfo.hosts().len() > 1 && (conninfo.balances_load() || wants_standbys) => {
            Some(target.unwrap_or_default())
        }
        Some(ReadFrom::Primary | ReadFrom::Nodes) | None => None,
    }
}

/// Find the hosts of `conninfo` that are of kind `wanted`, by a connection to each at the same time.
///
/// # Errors
/// When there is none, or one refuses the login.
pub(super) async fn find_hosts(
    conninfo: &Conninfo,
    wanted: TargetSession,
    session: SessionOptions,
) -> Result<FoundHosts> {
    let mut failures = ConnectFailure { attempts: Vec::new() };
    for &kind in wanted.passes() {
        failures.attempts.clear();
        let probes = conninfo.hosts().iter().map(|host| async move {
            let reached = Reached::default();
            let probed = probe(&conninfo.only(host, kind), session, &reached).await;
            // Later on, a server that was not preferred is accepted.
            (host, probed, (conninfo.only(host, wanted.once_chosen()), reached))
        });
        let (mut usable, mut unusable) = (Vec::new(), Vec::new());
        for (host, probed, found) in join_all(probes).await {
            match probed? {
                Ok(()) => usable.push(found),
                Err(failure) if failure.attempts.last().is_some_and(|last| last.reason.is_final()) => {
                    return Err(connect_error::from_failure(conninfo, &failure));
                }
                Err(failure) => {
                    let is_of_another_kind =
                        |last: &FailedAttempt| matches!(last.reason, FailureReason::Unwanted(_));
                    if !failure.attempts.last().is_some_and(is_of_another_kind) {
                        let problem = connect_error::last_cause(conninfo, &failure);
                        unusable.push(UnusableHost { endpoint: host.endpoint(None), problem });
                    }
                    failures.attempts.extend(failure.attempts);
                }
            }
        }
        if !usable.is_empty() {
            return Ok(FoundHosts { usable, unusable });
        }
    }
    Err(connect_error::from_failure(conninfo, &failures))
}

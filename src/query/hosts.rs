//! The hosts that the connections of a run go to.

use std::time::Duration;

use deadpool_postgres::Object;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::postgres::server::{ReadPools, ServerFacts, SessionPool};
use crate::postgres::server_messages::ServerWarnings;
use crate::postgres::spread::UnusableHost;
use crate::progress::Progress;
use crate::query::drive::connection::Connection;
use crate::query::drive::plan::RunResult;
use crate::query::measure::run_stats::{RunStats, with_interval};
use crate::query::options::MeterSettings;
use crate::query::report::{HostReport, HostRole, ResultCheck};
use crate::query::verdict::Verdict;
use crate::query::verdict::replay::ReplayLag;
use crate::query::verdict::sampler::{ActivitySampler, Pids};
use crate::{Error, Result};

/// The pause between two looks at how far a standby is.
const PAUSE: Duration = Duration::from_millis(20);

/// The hosts that the connections of a run go to; at least one.
pub(super) struct RunHosts {
    pools: Vec<SessionPool>,
    /// What is known of the server of each.
    servers: Vec<ServerFacts>,
    /// Whether connections are spread over all hosts of a kind.
    is_spread: bool,
    unusable: Vec<UnusableHost>,
}

/// What is sampled of each host during a run; of some only why not.
pub(super) struct HostSamplers(Vec<Result<ActivitySampler, Verdict>>);

/// What was sampled of each host.
pub(super) type Watched = Vec<(Verdict, ReplayLag)>;

impl RunHosts {
    /// The hosts of `read`, once they have replayed the log as far as `settings` demand, and a connection to the first.
    ///
    /// # Errors
    /// When one cannot be reached, or does not get that far in time.
    pub(super) async fn open(
        read: ReadPools,
        settings: &MeterSettings,
        progress: &Progress,
    ) -> Result<(RunHosts, Object)> {
        let ReadPools { pools, is_spread, unusable } = read;
        for UnusableHost { endpoint, problem } in &unusable {
            progress.note(&format!("host {endpoint} is not used: {problem}"));
        }
        let deadline = Instant::now() + settings.wait_timeout;
        let (mut servers, mut first) = (Vec::new(), None);
        for pool in &pools {
            let client = pool.get().await?;
            let server = pool.server_facts(&client).await?;
            tracing::info!("PostgreSQL {} at {}", server.version, server.url());
            if let Some(lsn) = &settings.wait_for_lsn {
                let endpoint = pool.endpoint().map_or_else(String::new, |endpoint| endpoint.to_string());
                let waited = wait_for_lsn(&client, lsn, deadline, progress).await;
                waited.map_err(|error| error.and(&format!("the server is {endpoint}")))?;
            }
            servers.push(server);
            match first {
                None => first = Some(client),
                // A run that took it from the pool would have it driven by this thread, not by a shard.
                Some(_) => drop(Object::take(client)),
            }
        }
        let first = first.expect("there is a host");
        Ok((RunHosts { pools, servers, is_spread, unusable }, first))
    }

    /// The pool of the first host.
    pub(super) fn pool(&self) -> &SessionPool {
        &self.pools[0]
    }

    /// The pools of all hosts.
    pub(super) fn pools(&self) -> &[SessionPool] {
        &self.pools
    }

    /// The server of the first host.
    pub(super) fn server(&self) -> &ServerFacts {
        &self.servers[0]
    }

    /// What the servers warned of.
    pub(super) fn warnings(&self) -> ServerWarnings {
        let mut all = ServerWarnings::default();
        for warnings in self.pools.iter().map(|pool| pool.messages().warnings()) {
            all.count += warnings.count;
            all.messages.extend(warnings.messages);
        }
        all
    }

    /// The number of hosts that are used.
    pub(super) fn count(&self) -> usize {
        self.pools.len()
    }

    /// The pool and number of the host that has the fewest of `connections`.
    pub(super) fn next(&self, connections: &[Connection]) -> (&SessionPool, usize) {
        let used = |host: &usize| connections.iter().filter(|connection| connection.host == *host).count();
        let host = (0..self.count()).min_by_key(used).expect("there is a host");
        (&self.pools[host], host)
    }

    /// For each host, the backends of `connections`.
    pub(super) fn pids(&self, connections: &[Connection]) -> Vec<Pids> {
        let of_host = |host| connections.iter().filter(move |connection| connection.host == host);
        (0..self.count())
            .map(|host| Pids::new(of_host(host).map(|connection| connection.pid).collect()))
            .collect()
    }

    /// Begin to sample every host, with the backends `pids` on each.
    pub(super) async fn watch(&self, pids: &[Pids]) -> HostSamplers {
        let mut samplers = Vec::new();
        for (pool, pids) in self.pools.iter().zip(pids) {
            let opened = if pool.is_pooled() {
                Err(Verdict::behind_pooler())
            } else {
                pool.open_extra().await.map_err(|error| Verdict::unknown(&error))
            };
            samplers.push(match opened {
                Ok(client) => {
                    Ok(ActivitySampler::start(client, pids.clone(), pool.is_local(), self.is_spread).await)
                }
                Err(unknown) => Err(unknown),
            });
        }
        HostSamplers(samplers)
    }

    /// The figures of each host in `run`, which began with these numbers of `connections` to them; `None` if connections
    /// were not spread.
    pub(super) fn reports(
        &self,
        run: &RunResult,
        connections: &[usize],
        watched: &[(Verdict, ReplayLag)],
        checks: bool,
    ) -> Option<Vec<HostReport>> {
        if !self.is_spread {
            return None;
        }
        let seconds = run.elapsed.as_secs_f64();
        let used = self.servers.iter().zip(watched).zip(connections).enumerate();
        let used = used.map(|(host, ((server, (bound, lag)), connections))| {
            let stats: &RunStats = run.hosts.get(host).unwrap_or(&run.total);
            HostReport {
                host: server.host.clone(),
                address: server.address,
                port: server.port,
                role: Some(HostRole::new(server.standby)),
                role_at_end: lag.is_standby.map(HostRole::new),
                connections: *connections,
                reconnections: stats.reconnections,
                queries: stats.answered + stats.error_count(),
                errors: stats.error_count(),
                queries_per_second: stats.answered as f64 / seconds,
                response_us: with_interval(&stats.response, &stats.batch_means),
                checked: checks.then(|| ResultCheck::new(stats)),
                lag: lag.report(),
                bound: Some(bound.clone()),
                problem: None,
            }
        });
        Some(used.chain(self.unusable.iter().map(HostReport::unusable)).collect())
    }
}

impl HostSamplers {
    /// Stop sampling, and judge what bounded each host. `rate_was_kept` in an open loop that kept up with its rate.
    pub(super) async fn finish(self, rate_was_kept: bool) -> Watched {
        let mut watched = Vec::new();
        for sampler in self.0 {
            watched.push(match sampler {
                Ok(sampler) => sampler.finish(rate_was_kept).await,
                Err(unknown) => (unknown, ReplayLag::default()),
            });
        }
        Verdict::judge_side_by_side(watched.iter_mut().map(|(verdict, _)| verdict));
        watched
    }
}

/// Wait until the server of `client` has replayed, or written, its log up to `lsn`.
///
/// # Errors
/// When it has not by `deadline`.
async fn wait_for_lsn(client: &Client, lsn: &str, deadline: Instant, progress: &Progress) -> Result<()> {
    let sql = "SELECT position >= $1::text::pg_lsn, position::text, is_standby
               FROM (SELECT CASE WHEN is_standby THEN pg_catalog.pg_last_wal_replay_lsn()
                                 ELSE pg_catalog.pg_current_wal_insert_lsn() END AS position, is_standby
                     FROM pg_catalog.pg_is_in_recovery() AS is_standby) p";
    loop {
        let row = client.query_one(sql, &[&lsn]).await;
        let row =
            row.map_err(|error| Error::database("ask the server for its position in the log", error))?;
        if row.get::<_, Option<bool>>(0) == Some(true) {
            return Ok(());
        }
        if progress.is_cancelled() {
            return Err(Error::interrupted());
        }
        if Instant::now() >= deadline {
            let position: Option<String> = row.get(1);
            let (position, is_standby) = (position.unwrap_or_else(|| "its beginning".to_owned()), row.get(2));
            let what = if is_standby { "replayed" } else { "written" };
            return Err(Error::connect(format!(
                "the server has not {what} its log up to {lsn}, the position of --wait-for-lsn, in time: it is at {position}"
            ))
            .with_help("wait longer with --wait-timeout, or see pg_stat_wal_receiver on the standby"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

//! What bounded a run: what the server's backends waited for, and which processes used the CPUs.

pub(crate) mod cpu;
mod hosts;
pub(crate) mod replay;
pub(crate) mod sampler;
pub(crate) mod statements;
pub(crate) mod timeout;

use serde::Serialize;

use crate::Error;
use crate::query::verdict::statements::ServerStatement;

/// What bounded a run, and what that follows from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// What bounded the run, in one word: `client`, `server`, `others` (other programs), `lock`, `sleep`, `lwlock`, `io`,
    /// `wal`, `other` (other waits), `roundtrip`, `rate`, `unknown`.
    pub by: &'static str,
    /// What bounded the run, in one sentence.
    pub sentence: String,
    /// What the verdict follows from.
    #[serde(flatten)]
    pub activity: ServerActivity,
    /// What `pg_stat_statements` counted during the run, the longest total time first; `None` where it is not installed
    /// or may not be read.
    pub statements: Option<Vec<ServerStatement>>,
}

/// What the backends of a run did, and who used the CPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerActivity {
    /// The backends of the run.
    pub backends: usize,
    /// How many times they were sampled.
    #[serde(rename = "looks")]
    pub samples: u64,
    /// The mean number of running backends; `None` without samples.
    pub running: Option<f64>,
    /// The mean number of idle backends, which waited for the client to send something; `None` without samples.
    pub waiting_for_client: Option<f64>,
    /// The mean number of backends that waited for each `wait_event_type:wait_event`, the largest first.
    pub waiting: Vec<(String, f64)>,
    /// The mean number of CPU cores that this process used; `None` where the run was not observed.
    pub client_cores: Option<f64>,
    /// The mean number of CPU cores that the backends of the run used; `None` for a server on another machine, for very
    /// short runs, and where backends ended during the run. With parallel workers, or with nodes of Citus on this machine,
    /// all that the client did not use: not every worker lives until it is sampled.
    pub server_cores: Option<f64>,
    /// The mean number of CPU cores of this machine that the backends of the run on other hosts used.
    #[serde(skip)]
    pub sibling_cores: f64,
    /// Whether the server stopped answering the sampler during the run.
    #[serde(skip)]
    pub ended_early: bool,
    /// What worked for the backends on the server's machine; `None` if nothing did.
    #[serde(skip)]
    pub helpers: Option<&'static str>,
    /// The mean number of busy CPU cores of this machine; `None` where the system does not report it, and for very
    /// short runs.
    pub busy_cores: Option<f64>,
    /// The CPU cores of this machine.
    pub cores: usize,
    /// The CPU cores that this process may use.
    #[serde(skip)]
    pub client_limit: usize,
    /// Whether the run was an open loop and kept up with its rate.
    pub rate_was_kept: bool,
}

/// Fewer samples do not give a verdict.
const FEWEST_SAMPLES: u64 = 3;

impl Verdict {
    /// The verdict that follows from `activity`.
    fn new(activity: ServerActivity, statements: Option<Vec<ServerStatement>>) -> Verdict {
        let (by, sentence) = activity.verdict();
        Verdict { by, sentence, activity, statements }
    }

    /// The verdict on a run during which the server could not be sampled, because of `error`.
    pub(crate) fn unknown(error: &Error) -> Verdict {
        Verdict::without_samples(&format!("the server could not be sampled: {error}"))
    }

    /// The verdict on a run that ended early, for example because the server was lost: idle backends say nothing then.
    pub(crate) fn ended_early(self) -> Verdict {
        Verdict { by: "unknown", sentence: "unknown: the run ended early".to_owned(), ..self }
    }

    /// The verdict on a run through a connection pooler, which gives each transaction any of its server connections.
    pub(crate) fn behind_pooler() -> Verdict {
        Verdict::without_samples(
            "connections go through a pooler, so the server processes of the run are not known",
        )
    }

    fn without_samples(why: &str) -> Verdict {
        Verdict {
            by: "unknown",
            sentence: format!("unknown: {why}"),
            activity: ServerActivity::default(),
            statements: None,
        }
    }
}

/// A word and a sentence, or `None` if something else bounded the run.
type Finding = Option<(&'static str, String)>;

impl ServerActivity {
    /// The same, with the CPU time that the helpers may have used counted as the server's: they come and go between two
    /// samples, and then cannot be told from other programs.
    fn attributed(self) -> ServerActivity {
        let rest = self.busy_cores.filter(|_| self.helpers.is_some()).map(|busy| busy - self.client_cores());
        let server_cores = self.server_cores.map(|server| rest.map_or(server, |rest| server.max(rest)));
        ServerActivity { server_cores, ..self }
    }

    /// What bounded the run: a word, and a sentence.
    fn verdict(&self) -> (&'static str, String) {
        if self.ended_early {
            let (samples, usage) = (self.samples, self.usage());
            let why = format!("unknown: the server could not be sampled after {samples} samples; {usage}");
            return ("unknown", why);
        }
        if self.samples < FEWEST_SAMPLES {
            let usage = self.usage();
            return ("unknown", format!("unknown: the run was too short to sample the server; {usage}"));
        }
        let waits = self.bounded_by_waits();
        // A lock or a sleep takes its time however busy the machine is. What else is waited for may itself wait for a core.
        let certain = waits.clone().filter(|(by, _)| ["lock", "sleep"].contains(by));
        let crowd = self.bounded_by_others();
        let remark = crowd.as_ref().map_or_else(String::new, |_| {
            format!("; other programs used {:.2} of {} cores and left none idle", self.others(), self.cores)
        });
        self.bounded_by_rate()
            .or(certain)
            .map(|(by, sentence)| (by, sentence + &remark))
            .or(crowd)
            .or(waits)
            .or_else(|| self.bounded_by_client())
            .or_else(|| self.bounded_by_server())
            .or_else(|| self.bounded_by_round_trips())
            .unwrap_or_else(|| {
                let (backends, running, waiting_for_client) = (self.backends, self.running(), self.idle());
                let (waiting, usage) = (self.all_waiting(), self.usage());
                (
                    "unknown",
                    format!(
                        "no single cause: of {backends} backends {running:.1} were running, {waiting:.1} waiting and {waiting_for_client:.1} idle; {usage}"
                    ),
                )
            })
    }

    /// Whether other programs used much of the CPU, and left none idle.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_machine_full() && self.others() >= 0.4 * self.cores as f64
    }

    fn bounded_by_others(&self) -> Finding {
        let (cores, others) = (self.cores, self.others());
        self.is_crowded().then(|| {
            let usage = self.usage();
            (
                "others",
                format!(
                    "OTHER PROGRAMS: they used {others:.2} of {cores} cores and left none idle; {usage}; measure on an otherwise idle machine"
                ),
            )
        })
    }

    fn bounded_by_rate(&self) -> Finding {
        let (backends, waiting_for_client) = (self.backends, self.idle());
        self.rate_was_kept.then(|| {
            let usage = self.usage();
            (
                "rate",
                format!(
                    "the requested rate: {waiting_for_client:.1} of {backends} backends were idle; {usage}"
                ),
            )
        })
    }

    fn bounded_by_waits(&self) -> Finding {
        let (event, _) = self.waiting.first()?;
        let (backends, waiting) = (self.backends, self.all_waiting());
        (waiting >= 0.25 * backends as f64 && waiting >= self.running()).then(|| {
            let ((by, what), usage) = (wait_class(event), self.usage());
            (
                by,
                format!(
                    "{what}: {waiting:.1} of {backends} backends were waiting, mostly for {event}; {usage}"
                ),
            )
        })
    }

    fn bounded_by_client(&self) -> Finding {
        let all = self.cores as f64;
        // This process may be allowed fewer cores than the machine has.
        let limit = all.min(self.client_limit as f64);
        let is_full = self.client_cores() >= 0.85 * limit;
        let uses_most =
            self.is_machine_full() && self.server_cores.is_some_and(|server| self.client_cores() > server);
        (is_full || uses_most).then(|| {
            let remedy = if limit < all {
                "let it use more cores, or measure from another machine"
            } else {
                "measure from a larger machine, or from another one"
            };
            ("client", format!("THE CLIENT, NOT THE SERVER: {}; {remedy}", self.usage()))
        })
    }

    fn bounded_by_server(&self) -> Finding {
        let (backends, running) = (self.backends, self.running());
        let all = self.cores as f64;
        let is_full = self.is_machine_full()
            && self.server_cores.is_some_and(|server| server + self.sibling_cores >= 0.4 * all);
        (is_full || running >= 0.7 * backends as f64).then(|| {
            let none = if self.all_waiting() < 0.05 * backends as f64 { "none" } else { "some" };
            let usage = self.usage();
            // Samples miss queries that are much shorter than the time between the server's answer and the next query.
            let sentence = if running < 0.4 * all {
                format!("server CPU: no core was idle; {usage}")
            } else {
                format!(
                    "server CPU: {running:.1} of {backends} backends were running, {none} waiting; {usage}"
                )
            };
            ("server", sentence)
        })
    }

    fn bounded_by_round_trips(&self) -> Finding {
        let (backends, waiting_for_client) = (self.backends, self.idle());
        (waiting_for_client >= 0.5 * backends as f64).then(|| {
            let usage = self.usage();
            (
                "roundtrip",
                format!(
                    "round trips: {waiting_for_client:.1} of {backends} backends were waiting for the next query; {usage}; use more connections or a deeper pipeline"
                ),
            )
        })
    }

    fn running(&self) -> f64 {
        self.running.unwrap_or_default()
    }

    fn idle(&self) -> f64 {
        self.waiting_for_client.unwrap_or_default()
    }

    /// The mean number of cores that neither the client nor the server's backends used; the server's other processes,
    /// such as the WAL writer, are among the others.
    fn others(&self) -> f64 {
        match (self.busy_cores, self.server_cores) {
            (Some(busy), Some(server)) => busy - self.client_cores() - server - self.sibling_cores,
            _ => 0.0,
        }
    }

    fn client_cores(&self) -> f64 {
        self.client_cores.unwrap_or_default()
    }

    /// The mean number of backends that waited for something other than the client.
    fn all_waiting(&self) -> f64 {
        self.waiting.iter().map(|(_, mean)| mean).sum()
    }

    fn is_machine_full(&self) -> bool {
        self.busy_cores.is_some_and(|busy| busy >= 0.9 * self.cores as f64)
    }

    /// How many cores the client and the server used, in words.
    fn usage(&self) -> String {
        let ServerActivity { client_limit, cores, .. } = self;
        let client_cores = self.client_cores();
        let bound = if self.busy_cores.is_some() { "most" } else { "least" };
        let with = self.helpers.map(|helpers| format!(" with {helpers} at {bound}")).unwrap_or_default();
        let server = self.server_cores.map(|server| format!(" and the server{with} {server:.2}"));
        if client_limit >= cores {
            return format!(
                "the client used {client_cores:.2}{} of {cores} cores",
                server.unwrap_or_default()
            );
        }
        let limit = if *client_limit == 1 { "1 core".to_owned() } else { format!("{client_limit} cores") };
        let server = server.map(|server| format!("{server} of {cores} cores")).unwrap_or_default();
        format!("the client used {client_cores:.2} of the {limit} it may use{server}")
    }
}

/// The class of a wait event: the word of the verdict, and what the sentence calls it.
fn wait_class(event: &str) -> (&'static str, &'static str) {
    match event.split_once(':') {
        Some(("Lock", _)) => ("lock", "locks"),
        Some(("Timeout", "PgSleep")) => ("sleep", "pg_sleep in the queries"),
        // PostgreSQL 17 renamed IO:WALSync to IO:WalSync, but kept LWLock:WALWrite.
        Some((_, name)) if name.starts_with("WAL") || name.starts_with("Wal") || name == "SyncRep" => {
            ("wal", "the write-ahead log")
        }
        Some(("LWLock", _)) => ("lwlock", "lightweight locks inside the server"),
        Some(("IO", _)) => ("io", "the server's disk"),
        _ => ("other", "other waits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> ServerActivity {
        ServerActivity {
            backends: 16,
            samples: 100,
            cores: 2,
            client_limit: 2,
            busy_cores: Some(1.0),
            server_cores: Some(0.5),
            ..ServerActivity::default()
        }
    }

    #[track_caller]
    fn check(activity: &ServerActivity, by: &str, start: &str) {
        let (found, sentence) = activity.verdict();
        assert!(found == by && sentence.starts_with(start), "{found}: {sentence}");
    }

    #[test]
    fn the_verdict_follows_from_the_numbers() {
        let server = ServerActivity {
            running: Some(16.0),
            busy_cores: Some(1.99),
            server_cores: Some(1.9),
            client_cores: Some(0.04),
            ..activity()
        };
        check(
            &server,
            "server",
            "server CPU: 16.0 of 16 backends were running, none waiting; the client used 0.04 and the server 1.90 of 2 cores",
        );
        let remote =
            ServerActivity { running: Some(15.0), server_cores: None, client_cores: Some(0.1), ..activity() };
        check(&remote, "server", "server CPU: 15.0 of 16 backends were running");
        let client = ServerActivity {
            running: Some(3.0),
            waiting_for_client: Some(13.0),
            client_cores: Some(1.2),
            busy_cores: Some(2.0),
            ..activity()
        };
        check(&client, "client", "THE CLIENT, NOT THE SERVER: the client used 1.20");
        let locks = ServerActivity {
            running: Some(1.0),
            waiting: vec![("Lock:transactionid".into(), 14.0)],
            ..activity()
        };
        check(&locks, "lock", "locks: 14.0 of 16 backends were waiting, mostly for Lock:transactionid");
        let wal = ServerActivity {
            waiting: vec![("LWLock:WALWrite".into(), 9.0), ("IO:WALSync".into(), 1.0)],
            ..activity()
        };
        check(&wal, "wal", "the write-ahead log: 10.0 of 16");
        let renamed = ServerActivity { waiting: vec![("IO:WalSync".into(), 9.0)], ..activity() };
        check(&renamed, "wal", "the write-ahead log: 9.0 of 16");
        let idle = ServerActivity { waiting_for_client: Some(15.5), ..activity() };
        check(&idle, "roundtrip", "round trips: 15.5 of 16 backends were waiting for the next query");
        check(&ServerActivity { rate_was_kept: true, ..idle }, "rate", "the requested rate: 15.5");
        check(
            &ServerActivity { samples: 2, ..activity() },
            "unknown",
            "unknown: the run was too short to sample the server",
        );
        let crowded = ServerActivity {
            busy_cores: Some(2.0),
            server_cores: Some(0.1),
            client_cores: Some(0.01),
            ..activity()
        };
        check(&crowded, "others", "OTHER PROGRAMS: they used 1.89 of 2 cores");
        // What is known of the run is said all the same.
        for (event, by, start) in [
            ("Lock:tuple", "lock", "locks: 14.0 of 16"),
            ("Timeout:PgSleep", "sleep", "pg_sleep in the queries: 14.0 of 16"),
            ("IO:WALSync", "others", "OTHER PROGRAMS: "),
        ] {
            check(&ServerActivity { waiting: vec![(event.into(), 14.0)], ..crowded.clone() }, by, start);
        }
        let (by, sentence) = ServerActivity { rate_was_kept: true, ..crowded }.verdict();
        assert!(by == "rate" && sentence.starts_with("the requested rate: "), "{sentence}");
        assert!(sentence.ends_with("; other programs used 1.89 of 2 cores and left none idle"), "{sentence}");
    }

    #[test]
    fn parallel_workers_count_as_the_servers() {
        let crowded = ServerActivity {
            backends: 1,
            running: Some(1.0),
            busy_cores: Some(2.0),
            server_cores: Some(0.75),
            client_cores: Some(0.01),
            ..activity()
        };
        check(&crowded.clone().attributed(), "others", "OTHER PROGRAMS: they used 1.24 of 2 cores");
        let parallel = ServerActivity { helpers: Some("parallel workers"), ..crowded };
        let sentence = "server CPU: 1.0 of 1 backends were running, none waiting; \
                        the client used 0.01 and the server with parallel workers at most 1.99 of 2 cores";
        check(&parallel.clone().attributed(), "server", sentence);
        // CPU time that is known to be the server's remains so.
        let more = ServerActivity { busy_cores: Some(0.5), ..parallel.clone() }.attributed();
        assert_eq!(more.server_cores, Some(0.75));
        // The CPUs of another machine are not counted here.
        let remote = ServerActivity { server_cores: None, ..parallel }.attributed();
        let sentence =
            "server CPU: 1.0 of 1 backends were running, none waiting; the client used 0.01 of 2 cores";
        check(&remote, "server", sentence);
    }

    #[test]
    fn a_client_is_bound_by_what_it_may_use() {
        let limited = ServerActivity {
            waiting_for_client: Some(7.5),
            running: Some(8.5),
            busy_cores: Some(1.7),
            server_cores: Some(0.7),
            client_cores: Some(0.97),
            client_limit: 1,
            ..activity()
        };
        let sentence = "THE CLIENT, NOT THE SERVER: the client used 0.97 of the 1 core it may use \
                        and the server 0.70 of 2 cores; let it use more cores, or measure from another machine";
        check(&limited, "client", sentence);
        let three = ServerActivity {
            client_limit: 3,
            cores: 8,
            client_cores: Some(2.6),
            server_cores: None,
            ..limited.clone()
        };
        let sentence = "THE CLIENT, NOT THE SERVER: the client used 2.60 of the 3 cores it may use; let";
        check(&three, "client", sentence);
        // The same use is little of all cores.
        let free = ServerActivity { client_limit: 2, ..limited };
        check(&free, "unknown", "no single cause");
        // The limit cannot exceed what the machine has.
        let generous = ServerActivity { client_limit: 64, client_cores: Some(1.8), ..free };
        let sentence =
            "THE CLIENT, NOT THE SERVER: the client used 1.80 and the server 0.70 of 2 cores; measure";
        check(&generous, "client", sentence);
    }
}

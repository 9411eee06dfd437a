//! The verdict on a run over several hosts.

use std::collections::BTreeMap;

use crate::query::verdict::{FEWEST_SAMPLES, ServerActivity, Verdict};

impl Verdict {
    /// Judge anew the hosts of one run, on which there are these `verdicts`: what the backends of one host used of this
    /// machine was used by no other program.
    pub(crate) fn judge_side_by_side<'a>(verdicts: impl Iterator<Item = &'a mut Verdict>) {
        let verdicts: Vec<&mut Verdict> =
            verdicts.filter(|verdict| verdict.activity.server_cores.is_some()).collect();
        let used = |verdict: &Verdict| verdict.activity.server_cores.unwrap_or_default();
        let all: f64 = verdicts.iter().map(|verdict| used(verdict)).sum();
        for verdict in verdicts {
            let sibling_cores = all - used(verdict);
            let activity = ServerActivity { sibling_cores, ..verdict.activity.clone() };
            *verdict = Verdict::new(activity, verdict.statements.take());
        }
    }

    /// The verdict on a run over hosts with these `verdicts`, of which there is at least one.
    pub(crate) fn of_hosts(verdicts: &[&Verdict]) -> Verdict {
        if let [verdict] = verdicts {
            return (*verdict).clone();
        }
        let is_known =
            |activity: &ServerActivity| activity.samples >= FEWEST_SAMPLES && !activity.ended_early;
        let unknown = verdicts.iter().filter(|verdict| !is_known(&verdict.activity)).count();
        if unknown > 0 {
            let hosts = verdicts.len();
            return Verdict::without_samples(&format!(
                "{unknown} of {hosts} hosts could not be sampled throughout; see the verdict on each"
            ));
        }
        let activities: Vec<&ServerActivity> = verdicts.iter().map(|verdict| &verdict.activity).collect();
        Verdict::new(ServerActivity::of_hosts(&activities), None)
    }
}

impl ServerActivity {
    /// The activity of all hosts together; that of this machine and process is the same in each of `all`.
    fn of_hosts(all: &[&ServerActivity]) -> ServerActivity {
        let sum = |figure: fn(&ServerActivity) -> Option<f64>| {
            all.iter().map(|activity| figure(activity)).sum::<Option<f64>>()
        };
        let most = |figure: fn(&ServerActivity) -> Option<f64>| {
            all.iter().filter_map(|activity| figure(activity)).reduce(f64::max)
        };
        let mut waiting: BTreeMap<&str, f64> = BTreeMap::new();
        for (event, mean) in all.iter().flat_map(|activity| &activity.waiting) {
            *waiting.entry(event).or_default() += mean;
        }
        let mut waiting: Vec<(String, f64)> =
            waiting.into_iter().map(|(event, mean)| (event.to_owned(), mean)).collect();
        waiting.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (client_cores, busy_cores) =
            (most(|activity| activity.client_cores), most(|activity| activity.busy_cores));
        let server_cores = sum(|activity| activity.server_cores);
        let free = busy_cores.map(|busy| busy - client_cores.unwrap_or_default());
        ServerActivity {
            backends: all.iter().map(|activity| activity.backends).sum(),
            samples: all.iter().map(|activity| activity.samples).min().unwrap_or_default(),
            running: sum(|activity| activity.running),
            waiting_for_client: sum(|activity| activity.waiting_for_client),
            waiting,
            client_cores,
            // Of each host, what helpers may have used is all that is not known to be another's.
            server_cores: server_cores.map(|server| free.map_or(server, |free| server.min(free))),
            sibling_cores: 0.0,
            ended_early: false,
            helpers: all.iter().find_map(|activity| activity.helpers),
            busy_cores,
            cores: all.iter().map(|activity| activity.cores).max().unwrap_or_default(),
            client_limit: all.iter().map(|activity| activity.client_limit).max().unwrap_or_default(),
            rate_was_kept: all.iter().all(|activity| activity.rate_was_kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backends_of_another_host_are_no_other_programs() {
        let activity = ServerActivity {
            backends: 2,
            samples: 10,
            running: Some(2.0),
            client_cores: Some(0.1),
            server_cores: Some(0.9),
            busy_cores: Some(1.98),
            cores: 2,
            client_limit: 2,
            ..ServerActivity::default()
        };
        let mut hosts = [Verdict::new(activity.clone(), None), Verdict::new(activity, None)];
        assert!(hosts.iter().all(|verdict| verdict.by == "others"), "{hosts:?}");
        Verdict::judge_side_by_side(hosts.iter_mut());
        assert!(hosts.iter().all(|verdict| verdict.by == "server"), "{hosts:?}");
    }

    #[test]
    fn hosts_are_judged_together_if_all_are_known() {
        let activity = |running: f64, idle: f64| ServerActivity {
            backends: 4,
            samples: 10,
            running: Some(running),
            waiting_for_client: Some(idle),
            waiting: vec![("IO:DataFileRead".to_owned(), 0.25)],
            cores: 8,
            client_limit: 8,
            ..ServerActivity::default()
        };
        let busy = Verdict::new(activity(3.75, 0.0), None);
        let idle = Verdict::new(activity(0.0, 3.75), None);
        assert_eq!((busy.by, idle.by), ("server", "roundtrip"));
        let both = Verdict::of_hosts(&[&busy, &busy]);
        assert_eq!(both.by, "server");
        assert!(both.sentence.starts_with("server CPU: 7.5 of 8 backends were running"), "{}", both.sentence);
        assert_eq!(both.activity.waiting, [("IO:DataFileRead".to_owned(), 0.5)]);
        assert_eq!(Verdict::of_hosts(&[&busy, &idle]).activity.waiting_for_client, Some(3.75));
        let gone = Verdict::new(ServerActivity { ended_early: true, ..activity(1.0, 1.0) }, None);
        let unknown = Verdict::of_hosts(&[&busy, &gone]);
        assert_eq!(
            (unknown.by, unknown.sentence.as_str()),
            ("unknown", "unknown: 1 of 2 hosts could not be sampled throughout; see the verdict on each")
        );
        assert_eq!(Verdict::of_hosts(&[&gone]), gone);
    }
}

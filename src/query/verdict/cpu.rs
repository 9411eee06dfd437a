//! CPU time, of processes and of the machine.

use std::collections::BTreeMap;

use rustix::time::{ClockId, clock_gettime};

/// CPU time used so far, in seconds.
#[derive(Debug)]
pub(crate) struct CpuTimes {
    /// By this process.
    pub client: f64,
    /// By each of the server's processes, by process ID; `None` for a server on another machine.
    pub server: Option<BTreeMap<i32, f64>>,
    /// By all processes of this machine; `None` where the system does not report it.
    pub machine: Option<f64>,
}

impl CpuTimes {
    /// The CPU time until now, with that of the processes `pids` if the server `is_local`.
    pub(crate) fn now(pids: &[i32], is_local: bool) -> CpuTimes {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        CpuTimes {
            client: own.tv_sec as f64 + own.tv_nsec as f64 / 1e9,
            server: is_local
                .then(|| pids.iter().filter_map(|pid| Some((*pid, process_seconds(*pid)?))).collect())
                .filter(|processes: &BTreeMap<_, _>| !processes.is_empty()),
            machine: machine_seconds(),
        }
    }
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// The user and system time of process `pid`, in seconds: fields 14 and 15 of `/proc/PID/stat`; `None` if it is not a
/// PostgreSQL process of this machine.
pub(crate) fn process_seconds(pid: i32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
    if !name.starts_with("postgres") {
        return None;
    }
    let mut times = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().ok());
    Some((times.next()?? + times.next()??) / ticks_per_second())
}

/// The busy time of all CPUs, in seconds: the first line of `/proc/stat` without idle and iowait.
fn machine_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<f64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, interrupt, soft, ..] = fields[..] else { return None };
    Some((user + nice + system + interrupt + soft) / ticks_per_second())
}

/// The CPU cores of this machine, which may be more than this process may use: those with a line in `/proc/stat`.
pub(crate) fn machine_cores() -> Option<usize> {
    count_cores(&std::fs::read_to_string("/proc/stat").ok()?)
}

fn count_cores(stat: &str) -> Option<usize> {
    let is_core =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(char::is_numeric));
    Some(stat.lines().filter(is_core).count()).filter(|cores| *cores > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_of_the_machine_is_counted() {
        let stat =
            "cpu  9 0 8 3 8 0 1 3 0 0\ncpu0 5 0 4 1 1\ncpu1 4 0 4 2 7\ncpu11 0 0 0\nintr 5 0\ncpufreq 1\n";
        assert_eq!(count_cores(stat), Some(3));
        assert_eq!(count_cores("intr 5\n"), None);
    }
}

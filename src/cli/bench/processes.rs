//! What Linux tells about processes, in `/proc` (proc(5)); other systems tell nothing.

use std::fs;

/// The children of the process `pid`.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let pids = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The parent of the process `pid`.
pub(super) fn parent(pid: i32) -> Option<i32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// User and system time of the process `pid` and of its children that have ended, in seconds: `utime`, `stime`, `cutime`
/// and `cstime`.
pub(super) fn cpu_seconds(pid: i32) -> Option<f64> {
    let ticks =
        stat_fields(pid)?.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    Some(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// Peak resident memory of the process `pid`, in bytes: `VmHWM`.
pub(super) fn peak_bytes(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// The fields of `/proc/PID/stat` after the name of the program, which may contain anything.
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

//! The machine that a comparison runs on.

use std::fs;

use crate::cli::bench::report::Machine;

impl Machine {
    /// This machine, as far as the system tells.
    pub(super) fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.and_then(|memory| memory.split_whitespace().next()?.parse::<u64>().ok());
        let kernel = rustix::system::uname();
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").trim().to_owned();
        let load = read("/proc/loadavg");
        Machine {
            processor: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: kib.map(|kib| kib * 1024),
            kernel: format!("{} {}", kernel.sysname().to_string_lossy(), kernel.release().to_string_lossy()),
            governor: Some(governor).filter(|governor| !governor.is_empty()),
            load_average: load.split_whitespace().next().and_then(|load| load.parse().ok()),
        }
    }
}

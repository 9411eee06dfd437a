//! The configuration file that the server is started with.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::postgres::embedded::options::{PORT, USER};
use crate::postgres::embedded::place::Place;
use crate::{Error, Result};

/// Settings that say where the cluster is and how we reach it; they are ours alone.
const RESERVED: [&str; 7] = [
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "port",
    "unix_socket_directories",
];

/// The text of `server.conf`: what `initdb` wrote, then ours, then the user's, the last one winning.
pub(super) fn render(place: &Place, memory: u64, user: &BTreeMap<String, String>) -> Result<String> {
    let shared_buffers = (memory / 4).clamp(16 << 20, 1 << 30) >> 20;
    // The value is a list of directories; double quotes keep commas and spaces inside one name.
    let socket_dirs = format!("\"{}\"", place.socket_dir.display().to_string().replace('"', "\"\""));
    let mut text = String::from(
        "# Written anew by postgres-etl at every start. Change [server.settings] in config.toml instead.\n\
         include 'data/postgresql.conf'\n",
    );
    let ours = [
        ("hba_file", place.dir.join("pg_hba.conf").display().to_string()),
        ("ident_file", place.dir.join("pg_ident.conf").display().to_string()),
        ("listen_addresses", String::new()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", socket_dirs),
        ("max_connections", "200".to_owned()),
        ("shared_buffers", format!("{shared_buffers}MB")),
        ("max_wal_size", "4GB".to_owned()),
        ("checkpoint_timeout", "15min".to_owned()),
        ("fsync", "on".to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("full_page_writes", "on".to_owned()),
        // Nobody replicates it: a table that is filled in the transaction that emptied it is flushed at the commit
        // instead of being written to the WAL first.
        ("wal_level", "minimal".to_owned()),
        ("max_wal_senders", "0".to_owned()),
        // Worth 7 % of a row-by-row load.
        ("update_process_title", "off".to_owned()),
    ];
    for (name, value) in &ours {
        let _ = writeln!(text, "{name} = {}", quote(value));
    }
    for (name, value) in user {
        check_name(name)?;
        let _ = writeln!(text, "{name} = {}", quote(value));
    }
    Ok(text)
}

fn check_name(name: &str) -> Result<()> {
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$'));
    if !well_formed {
        return Err(Error::launch(format!("{name:?} cannot be the name of a server setting"))
            .with_help("names in [server.settings] are those of postgresql.conf, such as work_mem"));
    }
    if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(Error::launch(format!("the server setting {name} cannot be changed"))
            .with_help("the directory of the server decides where its files and its socket are"));
    }
    Ok(())
}

/// A string of `postgresql.conf`, whatever it contains.
fn quote(value: &str) -> String {
    let escaped = value.replace('\\', r"\\").replace('\'', "''").replace('\n', r"\n").replace('\r', r"\r");
    format!("'{escaped}'")
}

/// `pg_hba.conf`: only the operating system's word counts, through the map below.
pub(super) const HBA: &str = "# Written by postgres-etl.\nlocal all all peer map=postgres_etl\n";

/// `pg_ident.conf`: the owner of the cluster, and root, may log in as any role.
///
/// Root could read the data files anyway, and is the one who starts a server that runs as another user.
pub(super) fn ident(owner: &str) -> String {
    let mut text = String::from("# Written by postgres-etl.\n");
    for name in ["root", owner] {
        let _ = writeln!(text, "postgres_etl \"{}\" {USER}", name.replace('"', "\"\""));
    }
    text
}

/// Bytes of memory that this machine or container has; a cautious guess when it does not say.
pub(super) fn memory() -> u64 {
    let machine = machine_memory().unwrap_or(1 << 30);
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    limit.and_then(|text| text.trim().parse().ok()).map_or(machine, |limit: u64| limit.min(machine))
}

#[cfg(target_os = "linux")]
fn machine_memory() -> Option<u64> {
    let info = rustix::system::sysinfo();
    // The fields are as wide as the machine's words.
    #[allow(clippy::useless_conversion, reason = "the field is 32 bits wide on 32-bit machines")]
    u64::from(info.totalram).checked_mul(info.mem_unit.into())
}

#[cfg(not(target_os = "linux"))]
fn machine_memory() -> Option<u64> {
    let output = std::process::Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn place(dir: &str) -> Place {
        Place::find(Some(dir.as_ref())).unwrap()
    }

    #[test]
    fn the_users_settings_come_last_and_quoted() {
        let user = settings(&[("fsync", "off"), ("my.note", "it's a\\b\nc")]);
        let text = render(&place("/a b,c"), 64 << 30, &user).unwrap();
        assert!(text.ends_with("fsync = 'off'\nmy.note = 'it''s a\\\\b\\nc'\n"), "{text}");
        assert!(text.contains("unix_socket_directories = '\"/a b,c/socket\"'\n"), "{text}");
        assert!(text.contains("shared_buffers = '1024MB'\n"), "{text}");
    }

    #[test]
    fn names_that_would_break_out_or_break_us_are_refused() {
        for name in ["", "a b", "x='y'\nfsync", "include 'x'", "Port", "data_directory"] {
            assert!(render(&place("/s"), 1 << 30, &settings(&[(name, "1")])).is_err(), "{name:?}");
        }
    }

    #[test]
    fn shared_buffers_are_a_quarter_of_a_small_machine() {
        let text = render(&place("/s"), 1 << 30, &BTreeMap::new()).unwrap();
        assert!(text.contains("shared_buffers = '256MB'\n"), "{text}");
    }
}

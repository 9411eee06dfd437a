//! Finds `initdb` and `postgres`, and downloads them if they are not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::postgres::embedded::binaries::{Binaries, install_hint};
use crate::postgres::embedded::dirs::{ServerDirs, default_cache};
use crate::postgres::embedded::fetch;
use crate::postgres::embedded::options::{BIN_SETTING, BinaryLookup, DIRECTORY_SETTING, FETCHED_MAJOR};
use crate::postgres::embedded::user::ServerUser;
use crate::{Error, Result};

impl BinaryLookup {
    /// Look in the directories of `PATH`, in that of `pg_config`, and in those that packages install to, the highest
    /// major version first; otherwise download the binaries.
    ///
    /// # Errors
    /// When there is no home directory for the cache.
    pub fn on_this_machine() -> Result<BinaryLookup> {
        let mut directories: Vec<PathBuf> =
            std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        let pg_config = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output();
        directories.extend(
            pg_config.ok().and_then(|out| String::from_utf8(out.stdout).ok()).map(|s| s.trim().into()),
        );
        directories.extend(versioned("/usr/lib/postgresql", "", "bin"));
        directories.extend(versioned("/usr", "pgsql-", "bin"));
        for prefix in ["/opt/homebrew/opt", "/usr/local/opt"] {
            directories.extend(versioned(prefix, "postgresql@", "bin"));
            directories.push(Path::new(prefix).join("postgresql/bin"));
        }
        directories.extend(versioned("/Applications/Postgres.app/Contents/Versions", "", "bin"));
        directories.retain(|directory| directory.is_absolute());
        Ok(BinaryLookup { directories, cache: default_cache()?, fetch: true })
    }
}

/// The directories `<root>/<prefix><number>/<sub>`, in descending order of their numbers.
fn versioned(root: &str, prefix: &str, sub: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(sub)))
        })
        .collect();
    found.sort_by_key(|&(version, _)| std::cmp::Reverse(version));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The binaries for the cluster in `dirs`, or for a new one; downloaded if none are installed.
///
/// # Errors
/// When there are none, or none of the cluster's major version.
pub(super) fn find_or_fetch(
    bin_dir: Option<&Path>,
    lookup: Option<&BinaryLookup>,
    dirs: &ServerDirs,
    user: &ServerUser,
    note: &mut dyn FnMut(&str),
) -> Result<Binaries> {
    let wanted = dirs.cluster_version();
    let fits = |found: &Binaries| wanted.as_deref().is_none_or(|wanted| wanted == found.major());
    if let Some(dir) = bin_dir {
        let found = Binaries::in_dir(dir, user).map_err(|why| {
            Error::launch(why).with_help(format!(
                "set {BIN_SETTING} to the directory that holds initdb and postgres, or remove that setting"
            ))
        })?;
        return if fits(&found) { Ok(found) } else { Err(wrong_version(dirs, &[found])) };
    }
    let lookup = lookup.map_or_else(BinaryLookup::on_this_machine, |lookup| Ok(lookup.clone()))?;
    let mut others = Vec::new();
    for dir in lookup.directories.iter().cloned().chain(fetch::cached(&lookup.cache)) {
        match Binaries::in_dir(&dir, user) {
            Ok(found) if fits(&found) => return Ok(found),
            Ok(found) => others.push(found),
            Err(_) => {}
        }
    }
    let fetchable = wanted.as_deref().is_none_or(|wanted| wanted == FETCHED_MAJOR);
    if lookup.fetch && fetchable {
        return fetch::fetch(&lookup.cache, user, note);
    }
    if wanted.is_some() {
        return Err(wrong_version(dirs, &others));
    }
    Err(Error::launch("failed to find PostgreSQL's initdb and postgres")
        .with_help(format!("{}, or set {BIN_SETTING} to their directory", install_hint())))
}

fn wrong_version(dirs: &ServerDirs, found: &[Binaries]) -> Error {
    let wanted = dirs.cluster_version().unwrap_or_default();
    let found: Vec<_> = found.iter().map(|b| format!("{} in {}", b.version, b.dir.display())).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let data = dirs.data.display();
    Error::launch(format!(
        "wrong version: the cluster in {data} needs PostgreSQL {wanted}; installed versions: {found}"
    ))
    .with_help(format!(
        "install PostgreSQL {wanted}, set {BIN_SETTING} to the directory of its binaries, or set {DIRECTORY_SETTING} \
         to a new directory to start with an empty cluster"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_major_versions_come_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pgsql-9", "pgsql-17", "pgsql-15", "other-99", "pgsql-x"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let found = versioned(root.path().to_str().unwrap(), "pgsql-", "bin");
        assert_eq!(found, ["17", "15", "9"].map(|v| root.path().join(format!("pgsql-{v}/bin"))));
    }
}

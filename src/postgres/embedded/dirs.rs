//! Where a server lives on disk, and as whom it runs.
//!
//! ```text
//! <dir>/            owned by whoever starts the server; root's is open to be passed through
//!   start.lock use.lock
//!   server.conf pg_hba.conf pg_ident.conf server.log
//!   data/           the cluster, owned by the server's user
//!   socket/         0700, owned by the server's user; under /tmp when the path would be too long
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::error::ErrorKind;
use crate::postgres::embedded::options::{DIRECTORY_SETTING, PORT};
use crate::{Error, Result};

/// What fits into `sun_path`, without the terminating zero.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The files of one server; `dir` is absolute.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) data: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log: PathBuf,
}

impl Place {
    /// The place that `dir`, or by default this user's own, names; nothing is created.
    pub(super) fn find(dir: Option<&Path>) -> Result<Place> {
        let dir = dir.map_or_else(default_dir, |dir| Ok(dir.to_owned()))?;
        let absolute = std::path::absolute(&dir)
            .map_err(|e| Error::launch(format!("{:?} is no server directory: {e}", dir.display())))?;
        // The socket's place depends on the path, so every way to write it must come out the same.
        Ok(Place::at(fs::canonicalize(&absolute).unwrap_or(absolute)))
    }

    fn at(dir: PathBuf) -> Place {
        let mut socket_dir = dir.join("socket");
        if socket_in(&socket_dir).as_os_str().len() > MAX_SOCKET_PATH {
            let digest = Sha256::digest(dir.as_os_str().as_bytes());
            socket_dir = PathBuf::from(format!("/tmp/postgres-etl-{}", hex(&digest[..8])));
        }
        // Somebody may have moved the data to another disk and left a link.
        let data = dir.join("data");
        let data = fs::canonicalize(&data).unwrap_or(data);
        Place { data, log: dir.join("server.log"), socket_dir, dir }
    }

    /// Creates the directory if need be, and returns the place under its real path.
    pub(super) fn create(self) -> Result<Place> {
        if self.dir.join("PG_VERSION").exists() {
            return Err(Error::launch(format!(
                "{} is itself a PostgreSQL data directory",
                self.dir.display()
            ))
            .with_help(format!(
                "set {DIRECTORY_SETTING} to a directory of its own; other people's clusters are never touched"
            )));
        }
        if !self.dir.is_dir() {
            let failed = |e: io::Error| self.unwritable("create directory", &self.dir, &e);
            fs::create_dir_all(&self.dir).map_err(failed)?;
            // The unprivileged user that serves for root has to pass through, whatever root's umask is.
            let mode = if is_root() { 0o755 } else { 0o700 };
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
        Place::find(Some(&self.dir))
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket_in(&self.socket_dir)
    }

    /// The file that says whose the socket is.
    pub(super) fn socket_lock(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{PORT}.lock"))
    }

    /// The major version of the cluster, if there is one: "15".
    pub(super) fn cluster_version(&self) -> Option<String> {
        fs::read_to_string(self.data.join("PG_VERSION")).ok().map(|text| text.trim().to_owned())
    }

    /// Whether the socket directory belongs to the owner of the data and to nobody else.
    ///
    /// Under /tmp anyone might have made a directory of that name, with a server of theirs in it.
    pub(super) fn socket_is_private(&self) -> bool {
        match (fs::symlink_metadata(&self.socket_dir), fs::metadata(&self.data)) {
            (Ok(socket), Ok(data)) => {
                socket.is_dir() && socket.uid() == data.uid() && socket.mode() & 0o777 == 0o700
            }
            _ => false,
        }
    }

    /// Makes the socket directory, private to `owner`.
    pub(super) fn create_socket_dir(&self, owner: &ServerUser) -> Result<()> {
        if fs::symlink_metadata(&self.socket_dir).is_err() {
            create_private(&self.socket_dir, owner)
                .map_err(|e| self.unwritable("create directory", &self.socket_dir, &e))?;
        }
        if self.socket_is_private() {
            return Ok(());
        }
        let socket_dir = self.socket_dir.display();
        Err(Error::launch(format!("{socket_dir} is not private to {}, so no socket goes there", owner.name))
            .with_help(format!("remove {socket_dir}, or set {DIRECTORY_SETTING} to another directory")))
    }

    /// Replaces a file of ours as a whole, never following a link that someone left there.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
            file.write_all(text.as_bytes())?;
            // The server's user reads it; it holds no secret.
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            self.hand_over(file.as_file())?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|e| self.unwritable("write", &path, &e))
    }

    /// Gives a file that root made in somebody's directory to that somebody, who may come without root next time.
    pub(super) fn hand_over(&self, file: &File) -> io::Result<()> {
        let dir = fs::metadata(&self.dir)?;
        if is_root() && dir.uid() != 0 {
            std::os::unix::fs::fchown(file, Some(dir.uid()), Some(dir.gid()))?;
        }
        Ok(())
    }

    /// "failed to {action} {path}", with what to do about the directory.
    pub(super) fn unwritable(&self, action: &str, path: &Path, e: &io::Error) -> Error {
        Error::io(ErrorKind::Launch, action, path, e).with_help(format!(
            "the server needs a directory that you can write to; {DIRECTORY_SETTING} names another one than {}",
            self.dir.display()
        ))
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

fn default_dir() -> Result<PathBuf> {
    if is_root() {
        return Ok("/var/lib/postgres-etl".into());
    }
    let data_home = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
    user_dir("XDG_DATA_HOME", data_home)
}

/// Where downloaded programs are kept; root's are readable by the user that serves for root.
pub(super) fn default_cache() -> Result<PathBuf> {
    if is_root() {
        return Ok("/var/cache/postgres-etl".into());
    }
    user_dir("XDG_CACHE_HOME", if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" })
}

fn user_dir(variable: &str, in_home: &str) -> Result<PathBuf> {
    let base = std::env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = base.or_else(|| Some(std::env::home_dir().filter(|home| home.is_absolute())?.join(in_home)));
    base.map(|dir| dir.join("postgres-etl")).ok_or_else(|| {
        Error::launch("there is no home directory to keep the server in")
            .with_help(format!("set HOME, {variable} or {DIRECTORY_SETTING}"))
    })
}

/// Makes a 0700 directory that belongs to `owner`.
pub(super) fn create_private(path: &Path, owner: &ServerUser) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    if owner.switch {
        // Not following: whoever owns the parent might have swapped the directory for a link.
        std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(())
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The operating system's user that runs the server.
#[derive(Debug, Clone)]
pub(super) struct ServerUser {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether children have to change to it.
    pub(super) switch: bool,
}

impl ServerUser {
    /// Ourselves; or, for root, whom PostgreSQL refuses: the cluster's owner, `postgres` or `nobody`.
    pub(super) fn choose(place: &Place) -> Result<ServerUser> {
        let owner = fs::metadata(&place.data).ok().map(|data| data.uid());
        if !is_root() {
            let uid = rustix::process::geteuid().as_raw();
            if let Some(other) = owner.filter(|&owner| owner != uid) {
                let data = place.data.display();
                return Err(Error::launch(format!(
                    "the cluster in {data} belongs to user id {other}, not to you"
                ))
                .with_help(format!("run as that user or as root, or set {DIRECTORY_SETTING}")));
            }
            let gid = rustix::process::getegid().as_raw();
            let name = id(&["-un"]).ok_or_else(|| {
                Error::launch(format!("user id {uid} has no name, and PostgreSQL does not start without one"))
                    .with_help(format!(
                        "add a line for {uid} to /etc/passwd, run as another user, or name a server that is running"
                    ))
            })?;
            return Ok(ServerUser { name, uid, gid, switch: false });
        }
        let owner = owner.filter(|&uid| uid != 0).map(|uid| uid.to_string());
        let candidates = owner.as_deref().map_or_else(|| vec!["postgres", "nobody"], |owner| vec![owner]);
        let found = candidates.into_iter().find_map(|user| {
            let number = |flag| id(&[flag, user])?.parse().ok();
            Some(ServerUser {
                name: id(&["-un", user])?,
                uid: number("-u")?,
                gid: number("-g")?,
                switch: true,
            })
        });
        found.ok_or_else(|| {
            Error::launch("PostgreSQL refuses to run as root, and there is no user to run it as")
                .with_help("create one with `useradd --system postgres`, or run as an ordinary user")
        })
    }

    /// The first directory on the way to `path` that this user may not pass through.
    pub(super) fn shut_out_at<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        if !self.switch {
            return None;
        }
        path.ancestors().collect::<Vec<_>>().into_iter().rev().find(|dir| {
            let Ok(meta) = fs::metadata(dir) else { return true };
            let needed = match () {
                () if meta.uid() == self.uid => 0o100,
                () if meta.gid() == self.gid => 0o010,
                () => 0o001,
            };
            meta.mode() & needed == 0
        })
    }
}

/// What `id` says; it knows every user database of this machine, /etc/passwd being only one of them.
fn id(arguments: &[&str]) -> Option<String> {
    let output = Command::new("id").args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_a_short_socket_of_its_own() {
        let short = Place::at(PathBuf::from("/srv/etl"));
        assert_eq!(short.socket(), Path::new("/srv/etl/socket/.s.PGSQL.5432"));
        let [one, other] =
            ["1", "2"].map(|name| Place::at(Path::new("/srv").join("x".repeat(100)).join(name)));
        assert!(one.socket().as_os_str().len() <= MAX_SOCKET_PATH);
        assert_ne!(one.socket(), other.socket());
    }

    #[test]
    fn the_longest_path_that_fits_is_used() {
        let spare = MAX_SOCKET_PATH - "/socket/.s.PGSQL.5432".len();
        let dir = PathBuf::from(format!("/{}", "x".repeat(spare - 1)));
        assert_eq!(Place::at(dir.clone()).socket_dir, dir.join("socket"));
        assert!(Place::at(PathBuf::from(format!("{}x", dir.display()))).socket_dir.starts_with("/tmp"));
    }
}

//! The directories and files of a server.
//!
//! ```text
//! <root>/           owned by the user who starts the server; 0755 if that is root, otherwise 0700
//!   start.lock use.lock
//!   server.conf pg_hba.conf pg_ident.conf server.log
//!   data/           the cluster, owned by the server's user
//!   socket/         0700, owned by the server's user; under /tmp if the path would be too long
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::ErrorKind;
use crate::postgres::embedded::options::{DIRECTORY_SETTING, PORT};
use crate::postgres::embedded::user::{ServerUser, create_private, is_root};
use crate::{Error, Result};

/// The longest path that fits in `sun_path`, in bytes without the terminating zero.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The directories of one server, and its log file. All paths are absolute.
#[derive(Debug, Clone)]
pub(super) struct ServerDirs {
    pub(super) root: PathBuf,
    pub(super) data: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log: PathBuf,
}

impl ServerDirs {
    /// The directories of the server at `dir`, or at this user's default if `None`. Creates nothing.
    pub(super) fn locate(dir: Option<&Path>) -> Result<ServerDirs> {
        let dir = dir.map_or_else(default_dir, |dir| Ok(dir.to_owned()))?;
        let absolute = std::path::absolute(&dir)
            .map_err(|e| Error::launch(format!("{:?} cannot be a server directory: {e}", dir.display())))?;
        // The socket path depends on this path, so every spelling of it must give the same result.
        Ok(ServerDirs::at(fs::canonicalize(&absolute).unwrap_or(absolute)))
    }

    fn at(root: PathBuf) -> ServerDirs {
        let mut socket_dir = root.join("socket");
        if socket_in(&socket_dir).as_os_str().len() > MAX_SOCKET_PATH {
            let digest = Sha256::digest(root.as_os_str().as_bytes());
            socket_dir = PathBuf::from(format!("/tmp/postgres-etl-{}", hex(&digest[..8])));
        }
        // The user may have moved the data to another disk and left a symbolic link.
        let data = root.join("data");
        let data = fs::canonicalize(&data).unwrap_or(data);
        ServerDirs { data, log: root.join("server.log"), socket_dir, root }
    }

    /// Create the root directory if it does not exist, and return the directories under its canonical path.
    pub(super) fn create(self) -> Result<ServerDirs> {
        if self.root.join("PG_VERSION").exists() {
            return Err(Error::launch(format!(
                "{} is itself a PostgreSQL data directory",
                self.root.display()
            ))
            .with_help(format!(
                "set {DIRECTORY_SETTING} to another directory; existing clusters are never touched"
            )));
        }
        if !self.root.is_dir() {
            let failed = |e: io::Error| self.unwritable("create directory", &self.root, e);
            fs::create_dir_all(&self.root).map_err(failed)?;
            // For root, the server runs as an unprivileged user, who needs access whatever root's umask is.
            let mode = if is_root() { 0o755 } else { 0o700 };
            fs::set_permissions(&self.root, fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
        ServerDirs::locate(Some(&self.root))
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket_in(&self.socket_dir)
    }

    /// The lock file of the socket, which holds the pid of the server that owns it.
    pub(super) fn socket_lock(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{PORT}.lock"))
    }

    /// The major version of the cluster, such as "15"; `None` if there is no cluster.
    pub(super) fn cluster_version(&self) -> Option<String> {
        fs::read_to_string(self.data.join("PG_VERSION")).ok().map(|text| text.trim().to_owned())
    }

    /// Whether the socket directory belongs to the owner of the data directory and nobody else has access to it.
    ///
    /// Under /tmp, any user could have created a directory of that name with a server of their own in it.
    pub(super) fn socket_is_private(&self) -> bool {
        match (fs::symlink_metadata(&self.socket_dir), fs::metadata(&self.data)) {
            (Ok(socket), Ok(data)) => {
                socket.is_dir() && socket.uid() == data.uid() && socket.mode() & 0o777 == 0o700
            }
            _ => false,
        }
    }

    /// Create the socket directory, private to `owner`, if it does not exist.
    pub(super) fn create_socket_dir(&self, owner: &ServerUser) -> Result<()> {
        if fs::symlink_metadata(&self.socket_dir).is_err() {
            create_private(&self.socket_dir, owner)
                .map_err(|e| self.unwritable("create directory", &self.socket_dir, e))?;
        }
        if self.socket_is_private() {
            return Ok(());
        }
        let socket_dir = self.socket_dir.display();
        Err(Error::launch(format!(
            "{socket_dir} is not private to {}, so the socket cannot be created there",
            owner.name
        ))
        .with_help(format!("remove {socket_dir}, or set {DIRECTORY_SETTING} to another directory")))
    }

    /// Replace the configuration file `name` atomically, without following a symbolic link in its place.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.root.join(name);
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
            file.write_all(text.as_bytes())?;
            // The server's user must be able to read the file, which contains no secrets.
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            self.hand_over(file.as_file())?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|e| self.unwritable("write", &path, e))
    }

    /// If root created `file` in a directory of another user, make that user its owner.
    ///
    /// Otherwise the user could not use the server without root next time.
    pub(super) fn hand_over(&self, file: &File) -> io::Result<()> {
        let dir = fs::metadata(&self.root)?;
        if is_root() && dir.uid() != 0 {
            std::os::unix::fs::fchown(file, Some(dir.uid()), Some(dir.gid()))?;
        }
        Ok(())
    }

    /// The error "failed to {action} {path}", with the remedy for a server directory that is not writable.
    pub(super) fn unwritable(&self, action: &str, path: &Path, e: io::Error) -> Error {
        Error::io(ErrorKind::Launch, action, path, e).with_help(format!(
            "the server directory {} must be writable; set {DIRECTORY_SETTING} to use another one",
            self.root.display()
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

/// The directory for downloaded binaries; root's is readable by the unprivileged user that runs root's server.
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
        Error::launch("no home directory for the server's files")
            .with_help(format!("set HOME, {variable} or {DIRECTORY_SETTING}"))
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_a_short_socket_path_unique_to_it() {
        let short = ServerDirs::at(PathBuf::from("/srv/etl"));
        assert_eq!(short.socket(), Path::new("/srv/etl/socket/.s.PGSQL.5432"));
        let [one, other] =
            ["1", "2"].map(|name| ServerDirs::at(Path::new("/srv").join("x".repeat(100)).join(name)));
        assert!(one.socket().as_os_str().len() <= MAX_SOCKET_PATH);
        assert_ne!(one.socket(), other.socket());
    }

    #[test]
    fn the_longest_path_that_fits_is_used() {
        let spare = MAX_SOCKET_PATH - "/socket/.s.PGSQL.5432".len();
        let dir = PathBuf::from(format!("/{}", "x".repeat(spare - 1)));
        assert_eq!(ServerDirs::at(dir.clone()).socket_dir, dir.join("socket"));
        assert!(ServerDirs::at(PathBuf::from(format!("{}x", dir.display()))).socket_dir.starts_with("/tmp"));
    }
}

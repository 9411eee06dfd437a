//! The operating system user that runs the server.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::postgres::embedded::options::DIRECTORY_SETTING;
use crate::{Error, Result};

/// The operating system user that runs the server.
#[derive(Debug, Clone)]
pub(super) struct ServerUser {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether child processes must switch to this user: true if and only if this process runs as root.
    pub(super) switch: bool,
}

impl ServerUser {
    /// The current user. PostgreSQL refuses to run as root: for root, the cluster's owner if it has one, otherwise
    /// `postgres` or `nobody`.
    pub(super) fn choose(data_dir: &Path) -> Result<ServerUser> {
        let owner = fs::metadata(data_dir).ok().map(|data| data.uid());
        if !is_root() {
            let uid = rustix::process::geteuid().as_raw();
            if let Some(other) = owner.filter(|&owner| owner != uid) {
                let data = data_dir.display();
                return Err(Error::launch(format!(
                    "the cluster in {data} belongs to user ID {other}, not to you"
                ))
                .with_help(format!("run as that user or as root, or set {DIRECTORY_SETTING}")));
            }
            let gid = rustix::process::getegid().as_raw();
            let name = id(&["-un"]).ok_or_else(|| {
                Error::launch(format!("user ID {uid} has no user name, and PostgreSQL requires one")).with_help(
                    format!(
                        "add user ID {uid} to /etc/passwd, run as another user, or use a running server (--database-url)"
                    ),
                )
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
            Error::launch("PostgreSQL refuses to run as root, and no suitable user exists")
                .with_help("create one with `useradd --system postgres`, or run as an ordinary user")
        })
    }

    /// The first directory on the path down to and including `path` that this user may not enter; `None` if all are
    /// accessible or this is the current user.
    pub(super) fn first_inaccessible<'a>(&self, path: &'a Path) -> Option<&'a Path> {
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

/// The name of the operating system user with this ID; `None` if there is none.
pub(in crate::postgres) fn user_name(uid: u32) -> Option<String> {
    id(&["-un", &uid.to_string()])
}

/// The output of `id`, which consults every user database of the machine, not only /etc/passwd.
fn id(arguments: &[&str]) -> Option<String> {
    let output = Command::new("id").args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Create a directory with mode 0700 that belongs to `owner`.
pub(super) fn create_private(path: &Path, owner: &ServerUser) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    if owner.switch {
        // lchown, because the owner of the parent could have replaced the directory by a symbolic link.
        std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(())
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

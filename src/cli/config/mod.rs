//! What a command is to do, resolved once: flags, then environment, then `config.toml`, then defaults.
//!
//! What comes out are the library's own options, and beside them what only the command line knows.

mod database;
mod env_file;
pub(crate) mod file;
mod generate;
mod load;
mod query;
mod table;

use std::path::{Path, PathBuf};

use postgres_etl::catalog::TableSpec;
use postgres_etl::{Error, Result};

use crate::cli::args;

pub(crate) use env_file::EnvFile;
pub(crate) use generate::GenerateSettings;
pub(crate) use load::{InputCommand, LoadCommand};
pub(crate) use query::QueryCommand;

/// The file that is read when `--config` names none.
const DEFAULT_FILE: &str = "config.toml";

/// Reads an environment variable; a function so that tests need not change the process's own.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The configuration file and where its relative paths start.
#[derive(Debug)]
pub(crate) struct Config {
    file: file::File,
    base: PathBuf,
}

impl Config {
    /// Read the file that `flags` name, or `./config.toml`, or nothing when that is not there.
    ///
    /// # Errors
    /// When the file is named and missing, cannot be read, or is not valid.
    pub(crate) fn read(flags: &args::Global) -> Result<Self> {
        let path = match &flags.config {
            Some(path) if !path.exists() => {
                return Err(Error::config(format!("there is no configuration file {}", path.display()))
                    .with_help(
                        "leave --config out to use ./config.toml, or the defaults if that is missing",
                    ));
            }
            Some(path) => path.as_path(),
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => {
                let file = file::File { generate: Some(file::Generate::default()), ..file::File::default() };
                return Ok(Config { file, base: PathBuf::new() });
            }
        };
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Config { file: file::read(path)?, base })
    }

    /// The table that `[table]` describes.
    ///
    /// # Errors
    /// When a name in it is not a valid identifier.
    fn table(&self) -> Result<TableSpec> {
        table::table_spec(&self.file.table)
    }

    /// `path`, relative to the configuration file.
    fn path(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { PathBuf::new() } else { self.base.join(path) }
    }
}

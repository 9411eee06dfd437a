//! What `generate` writes.

use std::path::{Path, PathBuf};

use postgres_etl::{Error, Result, dataset};

use crate::cli::args;
use crate::cli::config::Config;

/// What `generate` is to do.
#[derive(Debug, Clone)]
pub(crate) struct GenerateSettings {
    /// What to write.
    pub plan: dataset::DatasetOptions,
    /// Where to; `-` is standard output.
    pub output: PathBuf,
    /// The directory of the default output, created if missing. A directory that a user named is not: it may be
    /// misspelt.
    pub default_dir: Option<PathBuf>,
}

impl Config {
    /// # Errors
    /// When a value is out of range.
    pub(crate) fn generate(&self, flags: &args::Generate) -> Result<GenerateSettings> {
        let file = self.file.generate.clone().unwrap_or_default();
        let rows = flags.rows.unwrap_or(file.rows);
        if rows == 0 {
            let what = if flags.rows.is_some() { "-n 0" } else { "[generate] rows = 0" };
            return Err(
                Error::usage(format!("{what} asks for no people")).with_help("give a number from 1 up")
            );
        }
        Ok(GenerateSettings {
            plan: dataset::DatasetOptions {
                rows,
                seed: flags.seed.unwrap_or(file.seed),
                unicode: flags.unicode || file.unicode,
                threads: None,
            },
            default_dir: match &flags.output {
                None => self.path(&file.output).parent().map(Path::to_owned),
                Some(_) => None,
            },
            output: flags.output.clone().unwrap_or_else(|| self.path(&file.output)),
        })
    }
}

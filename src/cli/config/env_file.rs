//! The file `.env` in the current directory, which sqlx's tool and others read as well.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use postgres_etl::{Error, ErrorKind, Result};

const FILE: &str = ".env";

/// The environment of the process, and the variables that `.env` adds to it.
#[derive(Debug, Default)]
pub(crate) struct EnvFile {
    added: HashMap<String, String>,
}

impl EnvFile {
    /// Read `.env` in `directory`, if there is one, for the variables that name a server: `DATABASE_URL` and `PG*`.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is neither a comment nor NAME=value.
    pub(crate) fn read(directory: &Path) -> Result<EnvFile> {
        let path = directory.join(FILE);
        // Python's virtual environments are directories of this name.
        if !path.is_file() {
            return Ok(EnvFile::default());
        }
        let content = fs::read(&path).map_err(|error| Error::io(ErrorKind::Config, "read", &path, error))?;
        let mut added = HashMap::new();
        for pair in dotenvy::from_read_iter(io::Cursor::new(&content)) {
            let (name, value) = pair.map_err(|error| malformed(&content, &error))?;
            if name == "DATABASE_URL" || name.starts_with("PG") {
                added.entry(name).or_insert(value);
            }
        }
        Ok(EnvFile { added })
    }

    /// The value of a variable. One that the environment has, even if it is empty, is not looked up in the file.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        if self.supplies(name) { self.added.get(name).cloned() } else { std::env::var(name).ok() }
    }

    /// Whether a variable comes from the file.
    fn supplies(&self, name: &str) -> bool {
        self.added.contains_key(name) && std::env::var_os(name).is_none()
    }

    /// A variable's name, with that of the file if it comes from there.
    pub(crate) fn origin(&self, name: &str) -> String {
        if self.supplies(name) { format!("{name} in {FILE}") } else { name.to_owned() }
    }
}

/// The error for a malformed file, which does not quote it: any part of it may be a password.
fn malformed(content: &[u8], error: &dotenvy::Error) -> Error {
    let text = String::from_utf8_lossy(content);
    let line = match error {
        // The crate gives the rest of the line, or of several if a quote is open.
        dotenvy::Error::LineParse(rest, _) => {
            let rest = rest.lines().next().unwrap_or_default().trim();
            text.lines().position(|line| !rest.is_empty() && line.trim().ends_with(rest))
        }
        _ => None,
    };
    let place = line.map_or_else(String::new, |line| format!(", line {}", line + 1));
    Error::config(format!("failed to read {FILE}{place}: it is not NAME=value"))
        .with_help("quote values that contain spaces or #, or ignore the file with --no-env-file")
}

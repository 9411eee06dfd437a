//! The program as a user runs it, in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::TestDb;

/// A temporary working directory, and the server that the program is told to use.
pub(crate) struct Workplace {
    dir: tempfile::TempDir,
    database_url: Option<String>,
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Workplace {
    /// Work on `database`.
    pub(crate) fn on(database: &TestDb) -> Workplace {
        Workplace { database_url: Some(database.url().to_owned()), ..Workplace::nowhere() }
    }

    /// Work on whatever the program finds.
    pub(crate) fn nowhere() -> Workplace {
        Workplace { dir: tempfile::tempdir().unwrap(), database_url: None }
    }

    /// The file `name` in it.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Write the file `name`, and return its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program with `args`, not yet run; no variable of ours names a server to it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postgres-etl"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("PG") || name.starts_with("POSTGRES_ETL_") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        if let Some(url) = &self.database_url {
            command.env("DATABASE_URL", url);
        }
        command
    }

    /// Run the program with `args` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args))
    }

    /// Run it, and see that it succeeds.
    pub(crate) fn succeed(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert!(ran.status.success(), "{args:?}: {ran:#?}");
        ran
    }

    /// Run it, see that it fails with `exit_code`, and return what it said.
    pub(crate) fn fail(&self, args: &[&str], exit_code: i32) -> String {
        let ran = self.run(args);
        assert_eq!(ran.status.code(), Some(exit_code), "{args:?}: {ran:#?}");
        assert_eq!(ran.stdout, "", "{args:?}: errors belong to standard error");
        assert!(!ran.stderr.contains("panicked"), "{args:?}: {ran:#?}");
        // Temporary paths differ from run to run.
        ran.stderr.replace(&self.dir.path().display().to_string(), "DIR")
    }

    /// Start the program with `args`.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Ran {
    /// Run `command` to its end.
    pub(crate) fn of(mut command: Command) -> Ran {
        Ran::from(command.output().unwrap())
    }

    /// Standard output as the JSON document that it has to be.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Ran {
        Ran {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

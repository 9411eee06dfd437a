//! The program as a user runs it: in a directory of its own, on a database of its own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use futures::TryStreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;
use tokio_postgres::types::FromSqlOwned;

use super::TestDb;
use super::load::within_patience;
use crate::PATIENCE;

/// A temporary working directory, and the database that the program is pointed at.
///
/// ```ignore
/// let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", "id\n1\n");
/// workplace.succeed(&["load", "data.csv", "-t", "t"]);
/// assert_eq!(workplace.csv_of("SELECT * FROM t").await, "1\n");
/// ```
pub(crate) struct Workplace {
    dir: tempfile::TempDir,
    database: Option<(String, Client)>,
}

/// What a run of the program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct ProgramOutput {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Building a workplace.
impl Workplace {
    /// A workplace on a new, empty database.
    pub(crate) async fn new() -> Workplace {
        Workplace::on(&super::database().await).await
    }

    /// A workplace on a new database in which `sql` has been executed.
    pub(crate) async fn with_sql(sql: &str) -> Workplace {
        let workplace = Workplace::new().await;
        workplace.execute(sql).await;
        workplace
    }

    /// A workplace on `database`.
    pub(crate) async fn on(database: &TestDb) -> Workplace {
        let database = Some((database.url().to_owned(), database.connect().await));
        Workplace { database, ..Workplace::without_database() }
    }

    /// The same, but the program is pointed at `url`.
    pub(crate) fn at(mut self, url: &str) -> Workplace {
        let database = self.database.as_mut().expect("this workplace has a database");
        url.clone_into(&mut database.0);
        self
    }

    /// A workplace that names no database to the program.
    pub(crate) fn without_database() -> Workplace {
        Workplace { dir: tempfile::tempdir().unwrap(), database: None }
    }

    /// A workplace whose embedded server the program itself starts, with `config` continuing the section `[server]`
    /// of the configuration.
    pub(crate) fn with_embedded_server(config: &str) -> Workplace {
        let workplace = Workplace::without_database();
        // If root runs the tests, the server's user must be able to enter the directory.
        fs::set_permissions(workplace.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let directory = workplace.path("server").display().to_string();
        workplace.config(format!("[server]\ndirectory = '{directory}'\n{config}\n"))
    }

    /// Adds the CSV file `name`.
    pub(crate) fn csv(self, name: &str, content: impl AsRef<[u8]>) -> Workplace {
        self.write(name, content);
        self
    }

    /// Adds the configuration file.
    pub(crate) fn config(self, content: impl AsRef<[u8]>) -> Workplace {
        self.write("config.toml", content);
        self
    }
}

/// Its files.
impl Workplace {
    /// The path of the file `name`.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Write the file `name`, and return its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The content of the text file `name`.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The content of the JSON file `name`.
    pub(crate) fn read_json(&self, name: &str) -> serde_json::Value {
        let document =
            serde_json::from_str(&self.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        super::schema::check(&document);
        document
    }
}

/// Its database.
impl Workplace {
    /// A connection to the database.
    pub(crate) fn client(&self) -> &Client {
        let (_, client) = self.database.as_ref().expect("this workplace has a database");
        client
    }

    /// The URL of the database.
    pub(crate) fn database_url(&self) -> &str {
        let (url, _) = self.database.as_ref().expect("this workplace has a database");
        url
    }

    /// Execute the statements `sql`.
    pub(crate) async fn execute(&self, sql: &str) {
        within_patience(sql, self.client().batch_execute(sql)).await.unwrap();
    }

    /// The first column of the only row that `query` returns.
    pub(crate) async fn value<T: FromSqlOwned>(&self, query: &str) -> T {
        within_patience(query, self.client().query_one(query, &[])).await.unwrap().get(0)
    }

    /// The number of rows in `table`.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.value(&format!("SELECT count(*) FROM {table}")).await
    }

    /// The first column of every row that `query` returns.
    pub(crate) async fn values<T: FromSqlOwned>(&self, query: &str) -> Vec<T> {
        let rows = within_patience(query, self.client().query(query, &[])).await;
        rows.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// The rows that `query` returns, as CSV in which only values that need quotes have them.
    pub(crate) async fn csv_of(&self, query: &str) -> String {
        String::from_utf8(self.copy_out(query, "csv").await).unwrap()
    }

    /// The rows of `table` byte for byte, in an order that depends on nothing but the rows.
    pub(crate) async fn content(&self, table: &str) -> Vec<u8> {
        self.copy_out(&format!("SELECT * FROM {table} t ORDER BY t::text"), "binary").await
    }

    async fn copy_out(&self, query: &str, format: &str) -> Vec<u8> {
        let copy = format!("COPY ({query}) TO STDOUT (FORMAT {format})");
        let copied = async {
            let mut chunks = pin!(self.client().copy_out(&copy).await.unwrap());
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.try_next().await.unwrap() {
                bytes.extend_from_slice(&chunk);
            }
            bytes
        };
        within_patience(&copy, copied).await
    }
}

/// Running the program in it.
impl Workplace {
    /// The program with `args`, not yet started; no environment variable of the test run names a server to it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postgres-etl"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("PG") || name.starts_with("POSTGRES_ETL_") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        if let Some((url, _)) = &self.database {
            command.env("DATABASE_URL", url);
        }
        command
    }

    /// Run the program with `args` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> ProgramOutput {
        ProgramOutput::from_command(self.command(args))
    }

    /// Run the program with `args` and `input` as its standard input to its end.
    pub(crate) fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> ProgramOutput {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.as_ref());
        thread::scope(|scope| {
            // The program may end without reading all of it.
            scope.spawn(move || stdin.write_all(input));
            ProgramOutput::from_child(child)
        })
    }

    /// Run the program with `args`, and check that it succeeds.
    pub(crate) fn succeed(&self, args: &[&str]) -> ProgramOutput {
        let ran = self.run(args);
        assert!(ran.status.success(), "{args:?}: {ran:#?}");
        ran
    }

    /// Run the program with `args`, check that it fails with `exit_code`, and return its error message.
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

impl ProgramOutput {
    /// Run `command` to its end, and keep what it prints.
    pub(crate) fn from_command(mut command: Command) -> ProgramOutput {
        ProgramOutput::from_child(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Wait for the end of `child`.
    ///
    /// # Panics
    /// When it has not ended after [`PATIENCE`].
    pub(crate) fn from_child(child: Child) -> ProgramOutput {
        let pid = Pid::from_child(&child);
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let _ = kill_process(pid, Signal::KILL);
            panic!("{command}has not ended after {PATIENCE:?}: {:#?}", ended.recv_timeout(PATIENCE));
        });
        output.unwrap().into()
    }

    /// Standard output, which must be a JSON document.
    pub(crate) fn json(&self) -> serde_json::Value {
        let document =
            serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        super::schema::check(&document);
        document
    }
}

impl From<std::process::Output> for ProgramOutput {
    fn from(output: std::process::Output) -> ProgramOutput {
        ProgramOutput {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

//! Which server a command works on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use postgres_etl::postgres::{
    Conninfo, DatabaseOptions, LARGEST_POOL, ServerChoice, Timeouts, conninfo, embedded,
};
use postgres_etl::{Error, Result};

use crate::cli::args;
use crate::cli::config::{Config, EnvFile, Environment};

/// Variables that say how to log in, but not to which server.
const WITHOUT_A_SERVER: &[&str] = &["PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD"];

impl Config {
    /// Which server: the flags, then `DATABASE_URL` and the `PG*` variables, then `config.toml`, then the embedded one.
    ///
    /// # Errors
    /// When what names the server cannot be understood.
    pub(crate) fn database(
        &self,
        flags: &args::Global,
        connect: &args::Connect,
        variables: &EnvFile,
    ) -> Result<DatabaseOptions> {
        let env: Environment<'_> = &|name| variables.get(name);
        let file = &self.file.database;
        if !(1..=LARGEST_POOL).contains(&file.pool_size) {
            return Err(Error::config(format!("[database] pool_size is {}", file.pool_size))
                .with_help(format!("give a number from 1 to {LARGEST_POOL}")));
        }
        let named = self.named_server(flags, connect, variables)?.map(|conninfo| {
            let origin = variables.origin(conninfo.named_by());
            conninfo.with_named_by(origin)
        });
        let server = if let Some(conninfo) = named {
            tracing::info!("server {}, named by {}", conninfo.describe(), conninfo.named_by());
            self.named(conninfo)
        } else {
            warn_of_ignored_variables(env);
            tracing::info!("the embedded server, as nothing names another");
            ServerChoice::Embedded(self.embedded(env))
        };
        Ok(self.options(server, flags))
    }

    /// The server that flags, variables or the file name; `None` if none does.
    fn named_server(
        &self,
        flags: &args::Global,
        connect: &args::Connect,
        variables: &EnvFile,
    ) -> Result<Option<Conninfo>> {
        let env: Environment<'_> = &|name| variables.get(name);
        let database_url = env("DATABASE_URL").filter(|url| !url.is_empty());
        if flags.database_url.as_deref().is_some_and(|url| url.trim().is_empty()) {
            return Err(Error::usage("--database-url is empty").with_help(
                "name a server, or leave the flag out; a variable on the command line may be misspelt",
            ));
        }
        let variable = variables.origin("DATABASE_URL");
        let typed = [(connect.url(), "--dbname"), (flags.database_url.as_deref(), "--database-url")];
        let typed = typed.into_iter().find_map(|(url, flag)| Some((url?, flag)));
        if let Some((url, flag)) = typed {
            warn_of_password(flag, Some(url));
        }
        let parameters = connect.parameters();
        let url = typed.or(database_url.as_deref().map(|url| (url, variable.as_str())));
        let named = conninfo::resolve_with(&parameters, url, env)?;
        if named.is_some() {
            return Ok(named);
        }
        if !self.file.database.url.is_empty() {
            let url = (self.file.database.url.as_str(), "config.toml [database] url");
            return conninfo::resolve_with(&parameters, Some(url), env);
        }
        // Whoever names the database or the role, as for psql, means the server that psql uses.
        match parameters.first() {
            Some((.., flag)) => conninfo::resolve_with(&parameters, Some(("postgresql://", flag)), env),
            None => Ok(None),
        }
    }

    /// The server of `--against`, whose `url` the `PG*` variables complete.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub(crate) fn other_database(
        &self,
        url: &str,
        flags: &args::Global,
        variables: &EnvFile,
    ) -> Result<DatabaseOptions> {
        warn_of_password("--against", Some(url));
        let env: Environment<'_> = &|name| variables.get(name);
        let conninfo = conninfo::resolve(Some((url, "--against")), env)?;
        let conninfo = conninfo.filter(|_| !url.trim().is_empty()).ok_or_else(|| {
            Error::usage("--against is empty").with_help("give the URL of the other server, or leave it out")
        })?;
        Ok(self.options(self.named(conninfo), flags))
    }

    /// The server of `conninfo`, with the time to connect of the file unless it has one.
    fn named(&self, conninfo: Conninfo) -> ServerChoice {
        let limit = Duration::from_secs(self.file.database.connect_timeout_s.max(1));
        let has_limit = conninfo.has_connect_timeout();
        ServerChoice::Named(Box::new(if has_limit { conninfo } else { conninfo.with_connect_timeout(limit) }))
    }

    /// How connections to `server` are opened and kept.
    fn options(&self, server: ServerChoice, flags: &args::Global) -> DatabaseOptions {
        let file = &self.file.database;
        let timeouts = Timeouts {
            connect: None,
            wait: Duration::from_secs(file.wait_timeout_s.max(1)),
            ..Timeouts::default()
        };
        let prepare = flags.prepare.map_or(file.prepare, Into::into);
        DatabaseOptions::new(server).pool_size(file.pool_size).timeouts(timeouts).prepare(prepare)
    }

    /// The embedded server, whether or not another is named.
    pub(crate) fn embedded(&self, env: Environment<'_>) -> embedded::Options {
        let file = &self.file.server;
        let directory = match env("POSTGRES_ETL_SERVER_DIR").filter(|dir| !dir.is_empty()) {
            Some(directory) => PathBuf::from(directory),
            None => self.path(&file.directory),
        };
        let settings: BTreeMap<_, _> =
            file.settings.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        embedded::Options {
            dir: Some(directory).filter(|dir| !dir.as_os_str().is_empty()),
            bin_dir: Some(self.path(&file.bin_directory)).filter(|dir| !dir.as_os_str().is_empty()),
            settings,
            keep: file.keep,
            lookup: None,
        }
    }
}

/// Warn of variables that are set and do not matter for the embedded server.
fn warn_of_ignored_variables(env: Environment<'_>) {
    let is_set = |name: &&&str| env(name).is_some_and(|value| !value.is_empty());
    let ignored: Vec<&str> = WITHOUT_A_SERVER.iter().filter(is_set).copied().collect();
    if !ignored.is_empty() {
        tracing::warn!(
            "the embedded server is used, and {} ignored: neither PGHOST, PGHOSTADDR, PGSERVICE nor DATABASE_URL \
             names a server; PGHOST=/var/run/postgresql is psql's default",
            ignored.join(", ")
        );
    }
}

/// Warn if the `url` of `flag` has a password.
fn warn_of_password(flag: &str, url: Option<&str>) {
    if url.is_some_and(conninfo::has_password) {
        tracing::warn!(
            "other users of this machine can see the password in {flag}, as `ps` shows it; \
             put it into ~/.pgpass or PGPASSWORD"
        );
    }
}

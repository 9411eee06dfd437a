//! Connection settings, from the same sources and with the same precedence as in libpq.
//!
//! ```text
//!  URL or key=value ─▶ service file ─▶ PG* environment ─▶ defaults ─▶ Conninfo
//!  (highest)                                                            ├─ tokio_postgres::Config
//!                                                                       └─ TlsSettings
//! ```
//!
//! [`resolve`] does not use the driver's own parser, which lacks verify-full, root certificates, services and password
//! files. Each value is kept with its origin, so that an error can name it.

mod auth;
mod files;
mod hosts;
mod parameters;
mod text;
mod tls;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::ChannelBinding;
use tokio_postgres_sync_batching::AuthMethod;

use crate::postgres::conninfo::parameters::{PARAMETERS, UNSUPPORTED, check_key, refuse};
use crate::postgres::endpoint::{Endpoint, HostEntry, HostName};
use crate::postgres::target_session::{HostChoice, TargetSession};
use crate::postgres::tls::{TlsMode, TlsSettings};
use crate::{Error, Result};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// With the interval and the count below, a connection lost without notice is detected after about a minute.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES_COUNT: u32 = 3;
/// Long, because on Linux it also limits how long a healthy server may accept no data, as in a COPY that waits for a
/// lock.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(600);
/// Where packages look for the system's service file: those of Debian, of the PGDG for Red Hat, and PostgreSQL's own.
const SYSTEM_CONFIG_DIRS: [&str; 3] =
    ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

/// The settings of a connection: its server, login, TLS and timeouts.
///
/// Neither `Debug` nor [`Conninfo::describe`] shows the password.
#[derive(Debug, Clone)]
pub struct Conninfo {
    /// The login and the options of sockets; without hosts, passwords and TLS.
    config: Config,
    hosts: Vec<HostEntry>,
    balances_load: bool,
    target_session: Option<TargetSession>,
    require_peer: Option<String>,
    require_auth: Option<Vec<AuthMethod>>,
    tls: TlsSettings,
    named_by: String,
    has_connect_timeout: bool,
}

impl Conninfo {
    /// The settings to reach the server of the socket directory `directory` as the user and database of `config`, without
    /// TLS. `named_by` is their origin, for error messages.
    pub(crate) fn from_socket(
        config: Config,
        directory: impl Into<PathBuf>,
        port: u16,
        named_by: impl Into<String>,
    ) -> Conninfo {
        let host = HostName::Unix(directory.into());
        Conninfo {
            config,
            hosts: vec![HostEntry { host, address: None, port, password: None, password_file: None }],
            balances_load: false,
            target_session: None,
            require_peer: None,
            require_auth: None,
            tls: TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() },
            named_by: named_by.into(),
            has_connect_timeout: true,
        }
    }

    /// The configuration for the driver, without what the driver is not asked to do: hosts, passwords and TLS.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The hosts, in the order of the settings.
    pub(crate) fn hosts(&self) -> &[HostEntry] {
        &self.hosts
    }

    /// Whether to try the hosts in random order.
    pub(crate) fn balances_load(&self) -> bool {
        self.balances_load
    }

    /// Which kind of server to accept, as `target_session_attrs` says; where it is not set, one of several hosts by
    /// `choice`.
    pub(crate) fn target_session(&self, choice: HostChoice) -> TargetSession {
        let is_one_of_several = self.hosts.len() > 1;
        self.target_session.unwrap_or(if is_one_of_several { choice.into() } else { TargetSession::Any })
    }

    /// These settings for `host` alone, of which a server of kind `wanted` is accepted.
    pub(crate) fn only(&self, host: &HostEntry, wanted: TargetSession) -> Conninfo {
        Conninfo { hosts: vec![host.clone()], target_session: Some(wanted), ..self.clone() }
    }

    /// These settings for `database`.
    pub(crate) fn with_dbname(mut self, database: &str) -> Conninfo {
        self.config.dbname(database);
        self
    }

    /// The same login to `hosts`, with the password for `reached`, which is one of the hosts of these settings.
    pub(crate) fn with_hosts(&self, hosts: impl Iterator<Item = Endpoint>, reached: &Endpoint) -> Conninfo {
        let is_reached = |host: &&HostEntry| (host.name(), host.port) == (reached.host.clone(), reached.port);
        let like = self.hosts.iter().find(is_reached).unwrap_or(&self.hosts[0]);
        let host = |Endpoint { host, port, .. }| HostEntry {
            host: HostName::Tcp(host),
            address: None,
            port,
            ..like.clone()
        };
        Conninfo { hosts: hosts.map(host).collect(), ..self.clone() }
    }

    /// What `target_session_attrs` is set to.
    pub(crate) fn target_session_attrs(&self) -> Option<TargetSession> {
        self.target_session
    }

    /// Whether the URL, the service or the environment sets `target_session_attrs`.
    pub(crate) fn has_target_session(&self) -> bool {
        self.target_session.is_some()
    }

    /// The operating system user that a server reached through a Unix socket must run as.
    pub(crate) fn require_peer(&self) -> Option<&str> {
        self.require_peer.as_deref()
    }

    /// The methods by which the server may authenticate the client; `None` for all.
    pub(crate) fn require_auth(&self) -> Option<&[AuthMethod]> {
        self.require_auth.as_deref()
    }

    /// How to encrypt, and what to verify.
    pub(crate) fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// The database to connect to.
    pub fn dbname(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }

    /// The role to log in as.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The flag, environment variable or file that named the server, such as `--database-url` or `PGHOST`.
    pub fn named_by(&self) -> &str {
        &self.named_by
    }

    /// Whether the URL, the service or the environment sets `connect_timeout`.
    pub fn has_connect_timeout(&self) -> bool {
        self.has_connect_timeout
    }

    /// Set the time limit for logging in at each address of the server.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Conninfo {
        self.config.connect_timeout(timeout);
        self
    }

    /// Set what named the server.
    #[must_use]
    pub fn with_named_by(mut self, named_by: impl Into<String>) -> Conninfo {
        self.named_by = named_by.into();
        self
    }

    /// The address for display, without the password: `postgresql://user@host:5432/db` or
    /// `postgresql://user@[/run/postgresql]/db`.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|host| host.endpoint(None).to_string()).collect();
        let user = self.config.get_user().map_or(String::new(), |user| format!("{user}@"));
        format!("postgresql://{user}{}/{}", hosts.join(","), self.dbname())
    }
}

/// Resolve connection settings from `url` and from the environment variables that `env` looks up.
///
/// `url` is a URL or a `key=value` string, with its origin for error messages, such as `--database-url`. An empty text
/// or variable counts as not set. `None` if nothing names a server: neither `url` nor `PGHOST`, `PGHOSTADDR` or
/// `PGSERVICE`.
///
/// # Errors
/// When the text is malformed, a parameter is unknown or not supported, a value is out of range, or the service is not
/// defined. The error names the origin of the setting; its kind is [`ErrorKind::Config`](crate::ErrorKind::Config) if
/// that is a `.toml` file, otherwise [`ErrorKind::Usage`](crate::ErrorKind::Usage).
pub fn resolve(url: Option<(&str, &str)>, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Conninfo>> {
    resolve_with(&[], url, env)
}

/// As [`resolve`], with parameters that override all others: their names, their values, and their origins for error
/// messages.
///
/// They name a server only if the host is among them. A host replaces an address, too.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(
    overrides: &[(&str, &str, &str)],
    url: Option<(&str, &str)>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Conninfo>> {
    let env = |name: &str| if name.is_empty() { None } else { env(name).filter(|value| !value.is_empty()) };
    let url = url.filter(|(text, _)| !text.trim().is_empty());
    let host = overrides.iter().find(|(key, ..)| *key == "host").map(|(.., origin)| *origin);
    let variable = || ["PGHOST", "PGHOSTADDR", "PGSERVICE"].into_iter().find(|name| env(name).is_some());
    let Some(named_by) = host.or(url.map(|(_, origin)| origin)).or_else(variable) else { return Ok(None) };

    let mut settings = Parameters { home: env("HOME").map(PathBuf::from), values: HashMap::new() };
    if let Some((text, origin)) = url {
        let pairs = text::parse(text).map_err(|problem| {
            let message = format!("failed to read the connection settings in {origin}: {problem}");
            refuse(origin, message).with_help(
                "use postgresql://user@host:5432/database, or host=… user=… dbname=…; \
                 percent-encode @ : / ? # % in the user and password of a URL",
            )
        })?;
        settings.add_text(pairs, text, origin)?;
    }
    settings.add_overrides(overrides);
    settings.add_service(&env)?;
    settings.add_environment(&env)?;
    settings.forget_ports_of_other_hosts(overrides);
    settings.build(named_by).map(Some)
}

/// Whether `text`, a URL or a `key=value` string, holds a password.
pub fn has_password(text: &str) -> bool {
    let is_password = |(key, value): &(String, String)| {
        matches!(key.as_str(), "password" | "sslpassword") && !value.is_empty()
    };
    text::parse(text).is_ok_and(|pairs| pairs.iter().any(is_password))
}

/// The value of a parameter, and its origin for error messages.
struct ParameterValue {
    text: String,
    origin: String,
}

/// The parameters set so far, by their libpq names. Sources are added in order of precedence: a later one never replaces
/// the value of an earlier one.
struct Parameters {
    home: Option<PathBuf>,
    values: HashMap<String, ParameterValue>,
}

impl Parameters {
    /// Add the parameters of a URL or `key=value` string; of two values for the same key, the last applies.
    fn add_text(&mut self, pairs: text::Pairs, text: &str, origin: &str) -> Result<()> {
        // The rest of an unquoted password with a space in it would be read as the next key.
        let may_be_secret = !text.contains("://") && pairs.iter().any(|(key, _)| key == "password");
        for (key, value) in pairs {
            if check_key(&key, &value, origin, may_be_secret)? {
                self.values.insert(key, ParameterValue { text: value, origin: origin.to_owned() });
            }
        }
        Ok(())
    }

    /// Replace parameters by those of `overrides`.
    fn add_overrides(&mut self, overrides: &[(&str, &str, &str)]) {
        for (key, text, origin) in overrides {
            let value = ParameterValue { text: (*text).to_owned(), origin: (*origin).to_owned() };
            self.values.insert((*key).to_owned(), value);
            if *key == "host" {
                let none = ParameterValue { text: String::new(), origin: (*origin).to_owned() };
                self.values.insert("hostaddr".to_owned(), none);
            }
        }
    }

    /// If the host of `overrides` replaces several hosts, forget their ports.
    fn forget_ports_of_other_hosts(&mut self, overrides: &[(&str, &str, &str)]) {
        let is_given = |wanted: &str| overrides.iter().any(|(key, ..)| *key == wanted);
        if is_given("host") && !is_given("port") && self.get("port").is_some_and(|ports| ports.contains(','))
        {
            self.values.remove("port");
        }
    }

    /// Add the parameters of the service, if one is named.
    fn add_service(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        let Some(name) = self.get("service").map(str::to_owned).or_else(|| env("PGSERVICE")) else {
            return Ok(());
        };
        let own =
            self.get("servicefile").map(str::to_owned).or_else(|| env("PGSERVICEFILE")).map(PathBuf::from);
        let own = own.or_else(|| Some(self.home.as_ref()?.join(".pg_service.conf")));
        let directories = match env("PGSYSCONFDIR") {
            Some(directory) => vec![directory],
            None => SYSTEM_CONFIG_DIRS.map(str::to_owned).to_vec(),
        };
        let system = directories.iter().map(|directory| Path::new(directory).join("pg_service.conf"));
        let files: Vec<PathBuf> = own.into_iter().chain(system).collect();
        for file in &files {
            let found = files::service(file, &name).map_err(|problem| {
                Error::usage(format!("failed to read service file {}: {problem}", file.display()))
                    .with_help("a service is a [name] line followed by key=value lines")
            })?;
            let Some(pairs) = found else { continue };
            let origin = format!("service {name} in {}", file.display());
            for (key, value) in pairs {
                if check_key(&key, &value, &origin, false)? {
                    let value = ParameterValue { text: value, origin: origin.clone() };
                    self.values.entry(key).or_insert(value);
                }
            }
            return Ok(());
        }
        // Those that do not exist are of no interest, except the first.
        let files: Vec<String> = files
            .iter()
            .enumerate()
            .filter(|(index, file)| *index == 0 || file.exists())
            .map(|(_, file)| file.display().to_string())
            .collect();
        Err(Error::usage(format!("no service {name} in {}", files.join(" or ")))
            .with_help(format!("add a [{name}] section, or set PGSERVICEFILE to the file that has it")))
    }

    /// Add the parameters of the environment.
    fn add_environment(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        for (key, variable) in UNSUPPORTED {
            check_key(key, &env(variable).unwrap_or_default(), variable, false)?;
        }
        for (key, variable) in PARAMETERS {
            if let Some(text) = env(variable) {
                self.values
                    .entry(key.to_owned())
                    .or_insert(ParameterValue { text, origin: variable.to_owned() });
            }
        }
        // libpq sends these two as startup parameters, which the driver does not support; `options` can set them too.
        let session: Vec<String> = [("PGTZ", "TimeZone"), ("PGDATESTYLE", "DateStyle")]
            .into_iter()
            .filter_map(|(variable, parameter)| {
                Some(format!("-c {parameter}={}", env(variable)?.replace('\\', r"\\").replace(' ', r"\ ")))
            })
            .collect();
        if !session.is_empty() {
            let options = self
                .values
                .entry("options".into())
                .or_insert(ParameterValue { text: String::new(), origin: "PGTZ".into() });
            let text = format!("{} {}", session.join(" "), options.text);
            options.text = text.trim_end().into();
        }
        Ok(())
    }

    /// The value of a parameter; `None` if it is not set or empty.
    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| value.text.as_str()).filter(|text| !text.is_empty())
    }

    /// The error for an invalid value; `takes` says which values are valid.
    fn invalid(&self, key: &str, takes: &str) -> Error {
        let (text, origin) =
            self.values.get(key).map_or(("", ""), |value| (value.text.as_str(), value.origin.as_str()));
        refuse(origin, format!("invalid {key} {text:?} in {origin}"))
            .with_help(format!("{key} takes {takes}"))
    }

    fn parse<T>(&self, key: &str, takes: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        parse(text.trim()).map(Some).ok_or_else(|| self.invalid(key, takes))
    }

    fn number<T: FromStr>(&self, key: &str, takes: &str) -> Result<Option<T>> {
        self.parse(key, takes, |text| text.parse().ok())
    }

    fn build(self, named_by: &str) -> Result<Conninfo> {
        let mut config = Config::new();
        let user = match self.get("user") {
            Some(user) => user.to_owned(),
            None => whoami::username().map_err(|error| {
                Error::usage(format!("failed to determine the operating system user: {error}"))
                    .with_help("name the database user in PGUSER or as postgresql://user@host/database")
            })?,
        };
        let dbname = self.get("dbname").unwrap_or(&user);
        let application = self.get("application_name").or_else(|| self.get("fallback_application_name"));
        config.user(&user).dbname(dbname).application_name(application.unwrap_or("postgres-etl"));
        if let Some(options) = self.get("options") {
            config.options(options);
        }
        self.set_timeouts(&mut config)?;
        config.channel_binding(self.channel_binding()?);
        let hosts = self.hosts(&user, dbname)?;
        let tls = self.tls(&mut config, &hosts)?;
        Ok(Conninfo {
            config,
            hosts,
            balances_load: self.balances_load()?,
            target_session: self.target_session()?,
            require_peer: self.get("requirepeer").map(str::to_owned),
            require_auth: self.parse("require_auth", auth::TAKES, auth::parse)?,
            tls,
            named_by: named_by.to_owned(),
            has_connect_timeout: self.get("connect_timeout").is_some(),
        })
    }

    fn set_timeouts(&self, config: &mut Config) -> Result<()> {
        // As in libpq, numbers are 32-bit integers, of which zero and negative ones mean no limit or the default.
        let seconds = "a number of seconds from 0 to 2147483647";
        let limit = |number: i32| u64::try_from(number).ok().filter(|&number| number > 0);
        match self.number("connect_timeout", seconds)? {
            None => _ = config.connect_timeout(DEFAULT_CONNECT_TIMEOUT),
            Some(number) => {
                if let Some(seconds) = limit(number) {
                    config.connect_timeout(Duration::from_secs(seconds));
                }
            }
        }
        let takes = "a number of milliseconds from 0 to 2147483647";
        config.tcp_user_timeout(match self.number("tcp_user_timeout", takes)? {
            Some(number) => Duration::from_millis(limit(number).unwrap_or(0)),
            None => TCP_USER_TIMEOUT,
        });
        let idle = self.number("keepalives_idle", seconds)?.and_then(limit);
        let interval = self.number("keepalives_interval", seconds)?.and_then(limit);
        let count = match self.number("keepalives_count", "a number")? {
            None => self.number("keepalives_retries", "a number")?,
            count => count,
        };
        config
            .keepalives(self.number::<i32>("keepalives", "0 or 1")? != Some(0))
            .keepalives_idle(idle.map_or(KEEPALIVES_IDLE, Duration::from_secs))
            .keepalives_interval(interval.map_or(KEEPALIVES_INTERVAL, Duration::from_secs))
            .keepalives_retries(count.and_then(limit).map_or(KEEPALIVES_COUNT, |count| count as u32));
        Ok(())
    }

    fn channel_binding(&self) -> Result<ChannelBinding> {
        let binding = self.parse("channel_binding", "disable, prefer or require", |text| match text {
            "disable" => Some(ChannelBinding::Disable),
            "prefer" => Some(ChannelBinding::Prefer),
            "require" => Some(ChannelBinding::Require),
            _ => None,
        })?;
        Ok(binding.unwrap_or(ChannelBinding::Prefer))
    }

    fn balances_load(&self) -> Result<bool> {
        let balances = self.parse("load_balance_hosts", "disable or random", |text| match text {
            "disable" => Some(false),
            "random" => Some(true),
            _ => None,
        })?;
        Ok(balances.unwrap_or(false))
    }

    fn target_session(&self) -> Result<Option<TargetSession>> {
        let takes = "any, read-write, read-only, primary, standby or prefer-standby";
        self.number("target_session_attrs", takes)
    }
}

#[cfg(test)]
mod tests;

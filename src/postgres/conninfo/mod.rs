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

mod files;
mod parameters;
mod text;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{
    ChannelBinding, Host, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs,
};

use crate::postgres::conninfo::parameters::{PARAMETERS, UNSUPPORTED, check_key, refuse};
use crate::postgres::tls::{RootCertificates, TlsMode, TlsSettings};
use crate::{Error, Result};

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// With the interval and the count below, a connection lost without notice is detected after about a minute.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES_COUNT: u32 = 3;
/// Long, because on Linux it also limits how long a healthy server may accept no data, as in a COPY that waits for a
/// lock.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(600);
/// The default socket directories of distributions and of PostgreSQL itself.
const SOCKET_DIRS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// The settings of a connection: its server, login, TLS and timeouts.
///
/// Neither `Debug` nor [`Conninfo::describe`] shows the password.
#[derive(Debug, Clone)]
pub struct Conninfo {
    config: Config,
    tls: TlsSettings,
    named_by: String,
    password_file: Option<PathBuf>,
    has_connect_timeout: bool,
}

impl Conninfo {
    /// The settings of the driver configuration `config`, without TLS. `named_by` is their origin, for error messages.
    pub(crate) fn from_config(config: Config, named_by: impl Into<String>) -> Conninfo {
        let tls = TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() };
        let mut conninfo = Conninfo {
            config,
            tls,
            named_by: named_by.into(),
            password_file: None,
            has_connect_timeout: true,
        };
        conninfo.config.ssl_mode(SslMode::Disable);
        conninfo
    }

    /// The configuration for the driver. It contains no root or client certificates, and its `sslmode` is only the first
    /// of those to try: use [`connect`](crate::postgres::connect) or [`pool`](crate::postgres::pool()), which add both.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How to encrypt, and what to verify.
    pub(crate) fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// The flag, environment variable or file that named the server, such as `--database-url` or `PGHOST`.
    pub fn named_by(&self) -> &str {
        &self.named_by
    }

    /// The password file that supplied the password; `None` if it came from elsewhere or there is none.
    pub fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// Whether the URL, the service or the environment sets `connect_timeout`.
    pub fn has_connect_timeout(&self) -> bool {
        self.has_connect_timeout
    }

    /// Set the time limit for connecting to each address of the server.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Conninfo {
        self.config.connect_timeout(timeout);
        self
    }

    /// The address for display, without the password: `postgresql://user@host:5432/db` or
    /// `postgresql://user@[/run/postgresql]/db`.
    pub fn describe(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(i, host)| {
            let port = ports.get(i).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(dir) if port == DEFAULT_PORT => format!("[{}]", dir.display()),
                Host::Unix(dir) => format!("[{}]:{port}", dir.display()),
            }
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        let user = self.config.get_user().map_or(String::new(), |user| format!("{user}@"));
        format!("postgresql://{user}{hosts}/{}", self.config.get_dbname().unwrap_or_default())
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
    let env = |name: &str| if name.is_empty() { None } else { env(name).filter(|value| !value.is_empty()) };
    let url = url.filter(|(text, _)| !text.trim().is_empty());
    let variable = || ["PGHOST", "PGHOSTADDR", "PGSERVICE"].into_iter().find(|name| env(name).is_some());
    let Some(named_by) = url.map(|(_, origin)| origin).or_else(variable) else { return Ok(None) };

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
    settings.add_service(&env)?;
    settings.add_environment(&env)?;
    settings.build(named_by).map(Some)
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

    /// Add the parameters of the service, if one is named.
    fn add_service(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        let Some(name) = self.get("service").map(str::to_owned).or_else(|| env("PGSERVICE")) else {
            return Ok(());
        };
        let own =
            self.get("servicefile").map(str::to_owned).or_else(|| env("PGSERVICEFILE")).map(PathBuf::from);
        let own = own.or_else(|| Some(self.home.as_ref()?.join(".pg_service.conf")));
        let system = env("PGSYSCONFDIR").map(|dir| Path::new(&dir).join("pg_service.conf"));
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
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
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
        self.set_endpoints(&mut config)?;
        self.set_timeouts(&mut config)?;
        self.set_choices(&mut config)?;
        let mut password_file = None;
        if let Some(password) = self.get("password") {
            config.password(password);
        } else if let Some((file, password)) = self.find_password(&config)? {
            config.password(password);
            password_file = Some(file);
        }
        let tls = self.tls(&mut config)?;
        let has_connect_timeout = self.number::<i64>("connect_timeout", "a number of seconds")?.is_some();
        Ok(Conninfo { config, tls, named_by: named_by.to_owned(), password_file, has_connect_timeout })
    }

    /// Set hosts, addresses and ports. Each is a list, and they correspond by position.
    fn set_endpoints(&self, config: &mut Config) -> Result<()> {
        let list = |key| self.get(key).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
        let takes = "a number from 1 to 65535, or one for each host, separated by commas";
        let ports = list("port").unwrap_or_else(|| vec![""]).into_iter().map(|port| match port {
            "" => Ok(DEFAULT_PORT),
            port => port.parse().ok().filter(|&port| port != 0).ok_or_else(|| self.invalid("port", takes)),
        });
        let ports = ports.collect::<Result<Vec<u16>>>()?;
        let addresses = list("hostaddr").unwrap_or_default();
        // The driver verifies certificates against the host, and refuses TLS without one.
        let hosts =
            list("host").unwrap_or_else(|| if addresses.is_empty() { vec![""] } else { addresses.clone() });
        let count = hosts.len();
        if !addresses.is_empty() && addresses.len() != count {
            return Err(self.invalid("hostaddr", &format!("one address for each host ({count})")));
        }
        if ports.len() != 1 && ports.len() != count {
            return Err(self.invalid("port", takes));
        }
        for (i, host) in hosts.into_iter().enumerate() {
            if host.starts_with('@') {
                return Err(
                    self.invalid("host", "a name, an address or a socket directory (no abstract socket)")
                );
            }
            let port = ports.get(i).copied().unwrap_or(ports[0]);
            match host {
                "" => config.host(default_host(&SOCKET_DIRS, port)),
                host => config.host(host),
            };
            config.port(port);
        }
        for address in addresses {
            let address: IpAddr =
                address.parse().map_err(|_| self.invalid("hostaddr", "IPv4 or IPv6 addresses"))?;
            config.hostaddr(address);
        }
        Ok(())
    }

    fn set_timeouts(&self, config: &mut Config) -> Result<()> {
        let seconds = "a number of seconds";
        match self.number::<i64>("connect_timeout", seconds)? {
            None => _ = config.connect_timeout(DEFAULT_CONNECT_TIMEOUT),
            Some(limit) => {
                // As in libpq, zero and negative values mean no limit.
                if let Ok(limit @ 1..) = u64::try_from(limit) {
                    config.connect_timeout(Duration::from_secs(limit));
                }
            }
        }
        config.tcp_user_timeout(match self.number("tcp_user_timeout", "a number of milliseconds")? {
            Some(limit) => Duration::from_millis(limit),
            None => TCP_USER_TIMEOUT,
        });
        let idle = self.number("keepalives_idle", seconds)?.filter(|&idle| idle > 0);
        let interval = self.number("keepalives_interval", seconds)?.filter(|&interval| interval > 0);
        let count = match self.number("keepalives_count", "a number")? {
            None => self.number("keepalives_retries", "a number")?,
            count => count,
        };
        config
            .keepalives(self.number::<i64>("keepalives", "0 or 1")? != Some(0))
            .keepalives_idle(idle.map_or(KEEPALIVES_IDLE, Duration::from_secs))
            .keepalives_interval(interval.map_or(KEEPALIVES_INTERVAL, Duration::from_secs))
            .keepalives_retries(count.filter(|&count| count > 0).unwrap_or(KEEPALIVES_COUNT));
        Ok(())
    }

    fn set_choices(&self, config: &mut Config) -> Result<()> {
        let wanted =
            self.parse("target_session_attrs", "any, read-write or read-only", |text| match text {
                "any" => Some(TargetSessionAttrs::Any),
                "read-write" => Some(TargetSessionAttrs::ReadWrite),
                "read-only" => Some(TargetSessionAttrs::ReadOnly),
                _ => None,
            })?;
        let binding = self.parse("channel_binding", "disable, prefer or require", |text| match text {
            "disable" => Some(ChannelBinding::Disable),
            "prefer" => Some(ChannelBinding::Prefer),
            "require" => Some(ChannelBinding::Require),
            _ => None,
        })?;
        let balance = self.parse("load_balance_hosts", "disable or random", |text| match text {
            "disable" => Some(LoadBalanceHosts::Disable),
            "random" => Some(LoadBalanceHosts::Random),
            _ => None,
        })?;
        config
            .target_session_attrs(wanted.unwrap_or(TargetSessionAttrs::Any))
            .channel_binding(binding.unwrap_or(ChannelBinding::Prefer))
            .load_balance_hosts(balance.unwrap_or(LoadBalanceHosts::Disable));
        Ok(())
    }

    /// The password of this login in the password file, with the path of that file.
    fn find_password(&self, config: &Config) -> Result<Option<(PathBuf, String)>> {
        let default = || Some(self.home.as_ref()?.join(".pgpass"));
        let Some(file) = self.get("passfile").map(PathBuf::from).or_else(default) else { return Ok(None) };
        let text = files::read_passwords(&file);
        let passwords = config.get_hosts().iter().zip(config.get_ports()).map(|(host, port)| {
            let directory;
            let hosts: &[&str] = match host {
                Host::Tcp(name) => &[name],
                Host::Unix(path) => {
                    directory = path.to_string_lossy();
                    &[&directory, "localhost"]
                }
            };
            let (dbname, user) = (config.get_dbname().unwrap_or(""), config.get_user().unwrap_or(""));
            files::password(&text, &files::Login { hosts, port: &port.to_string(), dbname, user })
        });
        let mut passwords = passwords.collect::<Vec<_>>();
        passwords.dedup();
        match (passwords.pop().flatten(), passwords.is_empty()) {
            (password, true) => Ok(password.map(|password| (file, password))),
            // The driver uses one password for all hosts, and no host may be sent the password of another.
            (_, false) => Err(Error::usage(format!(
                "password file {} has different passwords for the hosts",
                file.display()
            ))
            .with_help("name a single host, or set PGPASSWORD to a password that all hosts accept")),
        }
    }

    fn tls(&self, config: &mut Config) -> Result<TlsSettings> {
        if config.get_hostaddrs().is_empty()
            && config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
        {
            config.ssl_mode(SslMode::Disable);
            return Ok(TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() });
        }
        let in_home = |name: &str| Some(self.home.as_ref()?.join(".postgresql").join(name));
        let existing = |name: &str| in_home(name).filter(|path| path.exists());
        let takes = "disable, allow, prefer, require, verify-ca or verify-full";
        let mode = self.number("sslmode", takes)?;
        let (mode, roots) = match self.get("sslrootcert") {
            // Anyone can obtain a certificate from a public authority, so the name must be verified.
            Some("system") => match mode.unwrap_or(TlsMode::VerifyFull) {
                mode @ TlsMode::VerifyFull => (mode, Some(RootCertificates::System)),
                _ => return Err(self.invalid("sslmode", "only verify-full with sslrootcert=system")),
            },
            Some(file) => (mode.unwrap_or_default(), Some(RootCertificates::File(file.into()))),
            None => (mode.unwrap_or_default(), existing("root.crt").map(RootCertificates::File)),
        };
        let certificate = self.get("sslcert").map(PathBuf::from).or_else(|| existing("postgresql.crt"));
        let identity = certificate.and_then(|certificate| {
            let key = self.get("sslkey").map(PathBuf::from).or_else(|| in_home("postgresql.key"))?;
            Some((certificate, key))
        });
        let negotiation = self.parse("sslnegotiation", "postgres or direct", |text| match text {
            "postgres" => Some(SslNegotiation::Postgres),
            "direct" => Some(SslNegotiation::Direct),
            _ => None,
        })?;
        if negotiation == Some(SslNegotiation::Direct) && mode < TlsMode::Require {
            return Err(self.invalid("sslnegotiation", "direct only with sslmode require or stronger"));
        }
        config.ssl_mode(mode.attempts()[0]).ssl_negotiation(negotiation.unwrap_or_default());
        Ok(TlsSettings { mode, roots, identity })
    }
}

/// The first of `dirs` that holds a server socket for `port`; `localhost` if none does.
fn default_host(dirs: &[&str], port: u16) -> String {
    let socket = |dir: &&&str| Path::new(dir).join(format!(".s.PGSQL.{port}")).exists();
    (*dirs.iter().find(socket).unwrap_or(&"localhost")).to_owned()
}

#[cfg(test)]
mod tests;

//! Connection settings, from the places and with the precedence that libpq gives them.
//!
//! ```text
//!  URL or key=value ─▶ service file ─▶ PG* environment ─▶ defaults ─▶ Conninfo
//!  (strongest)                                                          ├─ tokio_postgres::Config
//!                                                                       └─ tls::Settings
//! ```
//!
//! What the driver's own parser lacks (verify-full, root certificates, services, password files) is why the text
//! is read here. Every value remembers where it came from, so that an error names the place to mend.

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
use crate::postgres::tls;
use crate::{Error, Result};

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A network that loses a connection silently is noticed after about a minute.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES_COUNT: u32 = 3;
/// Long, because Linux also counts the time a healthy server takes no data: a COPY that waits for a lock.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(600);
/// Where distributions and the PostgreSQL project put the socket.
const SOCKET_DIRS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// A server, a login and how to reach them. Neither `Debug` nor [`Conninfo::describe`] shows the password.
#[derive(Debug, Clone)]
pub struct Conninfo {
    config: Config,
    tls: tls::Settings,
    named_by: String,
    password_file: Option<PathBuf>,
    has_connect_timeout: bool,
}

impl Conninfo {
    /// Settings that were built by hand, without TLS: those of a server that we started. `named_by` stands for
    /// where they came from.
    pub fn local(config: Config, named_by: impl Into<String>) -> Conninfo {
        let tls = tls::Settings { mode: tls::Mode::Disable, ..tls::Settings::default() };
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

    /// What to hand to the driver. Its `sslmode` is the first of `tls::Mode::attempts`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How to encrypt, and what to check.
    pub fn tls(&self) -> &tls::Settings {
        &self.tls
    }

    /// Which flag, variable or file named the server: `--database-url`, `PGHOST`, …
    pub fn named_by(&self) -> &str {
        &self.named_by
    }

    /// The file that the password was found in, if it was in one.
    pub fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// The same server and login, but another database.
    #[must_use]
    pub fn with_dbname(mut self, dbname: &str) -> Conninfo {
        self.config.dbname(dbname);
        self
    }

    /// Whether the URL, the service or the environment says how long to try to connect.
    pub fn has_connect_timeout(&self) -> bool {
        self.has_connect_timeout
    }

    /// The same settings, with another time limit for each address that a connection is tried at.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Conninfo {
        self.config.connect_timeout(timeout);
        self
    }

    /// For people: `postgresql://user@host:5432/db` or `postgresql://user@[/run/postgresql]/db`.
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

/// Settles how to connect from `url`, its text and where that came from, and the environment.
///
/// `None` when nothing names a server: neither `url` nor `PGHOST`, `PGHOSTADDR` or `PGSERVICE`. An empty text or
/// variable counts as not given.
///
/// # Errors
///
/// Text that cannot be read, an unknown or unsupported setting, a value out of range, a service that is nowhere
/// defined: a usage error (a config error if the text came from a `.toml` file) that names the place.
pub fn resolve(url: Option<(&str, &str)>, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Conninfo>> {
    let env = |name: &str| if name.is_empty() { None } else { env(name).filter(|value| !value.is_empty()) };
    let url = url.filter(|(text, _)| !text.trim().is_empty());
    let variable = || ["PGHOST", "PGHOSTADDR", "PGSERVICE"].into_iter().find(|name| env(name).is_some());
    let Some(named_by) = url.map(|(_, origin)| origin).or_else(variable) else { return Ok(None) };

    let mut settings = Settings { home: env("HOME").map(PathBuf::from), values: HashMap::new() };
    if let Some((text, origin)) = url {
        let pairs = text::parse(text).map_err(|problem| {
            let message = format!("failed to read the connection settings in {origin}: {problem}");
            refuse(origin, message).with_help(
                "write postgresql://user@host:5432/database, or host=… user=… dbname=…; \
                 percent-encode @ : / ? # % in a URL's user and password",
            )
        })?;
        settings.add_text(pairs, text, origin)?;
    }
    settings.add_service(&env)?;
    settings.add_environment(&env)?;
    settings.build(named_by).map(Some)
}

/// A setting's value and where it came from.
struct Value {
    text: String,
    origin: String,
}

/// What was given, strongest first: a layer never replaces what an earlier one said.
struct Settings {
    home: Option<PathBuf>,
    values: HashMap<String, Value>,
}

impl Settings {
    /// The text's settings; within it, the last of two counts.
    fn add_text(&mut self, pairs: text::Pairs, text: &str, origin: &str) -> Result<()> {
        // A password with a blank that nobody quoted goes on as if it were the next key.
        let may_be_secret = !text.contains("://") && pairs.iter().any(|(key, _)| key == "password");
        for (key, value) in pairs {
            if check_key(&key, &value, origin, may_be_secret)? {
                self.values.insert(key, Value { text: value, origin: origin.to_owned() });
            }
        }
        Ok(())
    }

    /// The settings of the service, if one is named.
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
                    .with_help("a service is a [name] line and key=value lines below it")
            })?;
            let Some(pairs) = found else { continue };
            let origin = format!("service {name} in {}", file.display());
            for (key, value) in pairs {
                if check_key(&key, &value, &origin, false)? {
                    let value = Value { text: value, origin: origin.clone() };
                    self.values.entry(key).or_insert(value);
                }
            }
            return Ok(());
        }
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        Err(Error::usage(format!("no service {name} in {}", files.join(" or ")))
            .with_help(format!("add a [{name}] section, or name the file that has it in PGSERVICEFILE")))
    }

    fn add_environment(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        for (key, variable) in UNSUPPORTED {
            check_key(key, &env(variable).unwrap_or_default(), variable, false)?;
        }
        for (key, variable) in PARAMETERS {
            if let Some(text) = env(variable) {
                self.values.entry(key.to_owned()).or_insert(Value { text, origin: variable.to_owned() });
            }
        }
        // libpq sends these two as start-up parameters, which the driver has no place for.
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
                .or_insert(Value { text: String::new(), origin: "PGTZ".into() });
            let text = format!("{} {}", session.join(" "), options.text);
            options.text = text.trim_end().into();
        }
        Ok(())
    }

    /// A value that is given and not empty.
    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| value.text.as_str()).filter(|text| !text.is_empty())
    }

    /// A value out of range.
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
                Error::usage(format!("failed to find the name of the operating system's user: {error}"))
                    .with_help("name the database user: set PGUSER or write postgresql://user@host/database")
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

    /// Hosts, addresses and ports, which go together by their place in the list.
    fn set_endpoints(&self, config: &mut Config) -> Result<()> {
        let list = |key| self.get(key).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
        let takes = "a number from 1 to 65535, or one for each host, separated by commas";
        let ports = list("port").unwrap_or_else(|| vec![""]).into_iter().map(|port| match port {
            "" => Ok(DEFAULT_PORT),
            port => port.parse().ok().filter(|&port| port != 0).ok_or_else(|| self.invalid("port", takes)),
        });
        let ports = ports.collect::<Result<Vec<u16>>>()?;
        let addresses = list("hostaddr").unwrap_or_default();
        // The driver checks certificates against the host, and refuses TLS without one.
        let hosts =
            list("host").unwrap_or_else(|| if addresses.is_empty() { vec![""] } else { addresses.clone() });
        let count = hosts.len();
        if !addresses.is_empty() && addresses.len() != count {
            return Err(self.invalid("hostaddr", &format!("as many addresses as there are hosts ({count})")));
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
                // As in libpq, zero and less mean no limit.
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

    /// What the password file says of this login.
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
            // The driver has one password for all hosts, and must not show one host the other's.
            (_, false) => Err(Error::usage(format!(
                "password file {} does not have the same password for every host",
                file.display()
            ))
            .with_help("connect to one host, or give the password that all of them take in PGPASSWORD")),
        }
    }

    fn tls(&self, config: &mut Config) -> Result<tls::Settings> {
        if config.get_hostaddrs().is_empty()
            && config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
        {
            config.ssl_mode(SslMode::Disable);
            return Ok(tls::Settings { mode: tls::Mode::Disable, ..tls::Settings::default() });
        }
        let in_home = |name: &str| Some(self.home.as_ref()?.join(".postgresql").join(name));
        let existing = |name: &str| in_home(name).filter(|path| path.exists());
        let takes = "disable, allow, prefer, require, verify-ca or verify-full";
        let mode = self.number("sslmode", takes)?;
        let (mode, roots) = match self.get("sslrootcert") {
            // Anybody can have a certificate from a public authority: only the name tells them apart.
            Some("system") => match mode.unwrap_or(tls::Mode::VerifyFull) {
                mode @ tls::Mode::VerifyFull => (mode, Some(tls::Roots::System)),
                _ => return Err(self.invalid("sslmode", "only verify-full together with sslrootcert=system")),
            },
            Some(file) => (mode.unwrap_or_default(), Some(tls::Roots::File(file.into()))),
            None => (mode.unwrap_or_default(), existing("root.crt").map(tls::Roots::File)),
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
        if negotiation == Some(SslNegotiation::Direct) && mode < tls::Mode::Require {
            return Err(self.invalid("sslnegotiation", "direct only with sslmode require or stronger"));
        }
        config.ssl_mode(mode.attempts()[0]).ssl_negotiation(negotiation.unwrap_or_default());
        Ok(tls::Settings { mode, roots, identity })
    }
}

/// The first of `dirs` with a server's socket in it, else `localhost`.
fn default_host(dirs: &[&str], port: u16) -> String {
    let socket = |dir: &&&str| Path::new(dir).join(format!(".s.PGSQL.{port}")).exists();
    (*dirs.iter().find(socket).unwrap_or(&"localhost")).to_owned()
}

#[cfg(test)]
mod tests;

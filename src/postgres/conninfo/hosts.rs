//! The hosts of the connection settings, each with its port, address and password.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::postgres::conninfo::{Parameters, files};
use crate::postgres::endpoint::{HostEntry, HostName, Secret};

const DEFAULT_PORT: u16 = 5432;
/// The default socket directories of distributions and of PostgreSQL itself.
const SOCKET_DIRS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

impl Parameters {
    /// The hosts with the passwords of `user` for `dbname`. Hosts, addresses and ports are lists that correspond by
    /// position.
    pub(super) fn hosts(&self, user: &str, dbname: &str) -> Result<Vec<HostEntry>> {
        let list = |key| self.get(key).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
        let takes = "a number from 1 to 65535, or one for each host, separated by commas";
        let ports = list("port").unwrap_or_else(|| vec![""]).into_iter().map(|port| match port {
            "" => Ok(DEFAULT_PORT),
            port => port.parse().ok().filter(|&port| port != 0).ok_or_else(|| self.invalid("port", takes)),
        });
        let ports = ports.collect::<Result<Vec<u16>>>()?;
        let addresses = list("hostaddr").unwrap_or_default();
        let hosts = list("host").unwrap_or_else(|| vec![""; addresses.len().max(1)]);
        if !addresses.is_empty() && addresses.len() != hosts.len() {
            return Err(self.invalid("hostaddr", &format!("one address for each host ({})", hosts.len())));
        }
        if ports.len() != 1 && ports.len() != hosts.len() {
            return Err(self.invalid("port", takes));
        }
        let passwords = Passwords::new(self);
        let mut entries = Vec::with_capacity(hosts.len());
        for (i, host) in hosts.into_iter().enumerate() {
            let port = ports.get(i).copied().unwrap_or(ports[0]);
            let address = match addresses.get(i) {
                None | Some(&"") => None,
                Some(address) => Some(
                    address
                        .parse::<IpAddr>()
                        .map_err(|_| self.invalid("hostaddr", "IPv4 or IPv6 addresses"))?,
                ),
            };
            let host = self.host_name(host, address.is_some(), port)?;
            let entry = HostEntry { host, address, port, password: None, password_file: None };
            entries.push(passwords.add_to(entry, user, dbname));
        }
        Ok(entries)
    }

    fn host_name(&self, host: &str, has_address: bool, port: u16) -> Result<HostName> {
        Ok(match host {
            "" if has_address => HostName::AddressOnly,
            "" => default_host(&SOCKET_DIRS, port),
            host if host.starts_with('@') => {
                return Err(
                    self.invalid("host", "a name, an address or a socket directory (no abstract socket)")
                );
            }
            host if host.starts_with('/') => HostName::Unix(host.into()),
            host => HostName::Tcp(host.to_owned()),
        })
    }
}

/// The password of the settings, or else those of the password file.
struct Passwords<'a> {
    set: Option<&'a str>,
    file: Option<(PathBuf, Vec<u8>)>,
}

impl<'a> Passwords<'a> {
    fn new(parameters: &'a Parameters) -> Passwords<'a> {
        let set = parameters.get("password");
        let default = || Some(parameters.home.as_ref()?.join(".pgpass"));
        let path = parameters.get("passfile").map(PathBuf::from).or_else(default);
        let file = path.filter(|_| set.is_none()).map(|path| {
            let text = files::read_passwords(&path);
            (path, text)
        });
        Passwords { set, file }
    }

    /// Add the password for `entry`.
    fn add_to(&self, mut entry: HostEntry, user: &str, dbname: &str) -> HostEntry {
        if let Some(password) = self.set {
            entry.password = Some(Secret(password.into()));
        } else if let Some((path, text)) = &self.file {
            let port = entry.port.to_string();
            let name = entry.name();
            // libpq does the same with the default directory it was built with.
            let host = if SOCKET_DIRS.contains(&name.as_str()) { "localhost" } else { &name };
            let login = files::Login { host, port: &port, dbname, user };
            if let Some(password) = files::password(text, &login) {
                entry.password = Some(Secret(password));
                entry.password_file = Some(path.clone());
            }
        }
        entry
    }
}

/// The first of `dirs` that holds a server socket for `port`; `localhost` if none does.
pub(super) fn default_host(dirs: &[&str], port: u16) -> HostName {
    let socket = |dir: &&&str| Path::new(dir).join(format!(".s.PGSQL.{port}")).exists();
    match dirs.iter().find(socket) {
        Some(directory) => HostName::Unix(directory.into()),
        None => HostName::Tcp("localhost".to_owned()),
    }
}

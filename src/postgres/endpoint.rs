//! Where connections go: the hosts that the settings name, and the endpoint that was used.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

const DEFAULT_PORT: u16 = 5432;

/// One of the hosts of the connection settings, with the password for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostEntry {
    pub(crate) host: HostName,
    /// `hostaddr`: the address to connect to, in place of those of the host name.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) password: Option<Secret>,
    /// The password file that supplied the password.
    pub(crate) password_file: Option<PathBuf>,
}

/// How the settings name a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostName {
    /// A host name or IP address.
    Tcp(String),
    /// No name: only `hostaddr` is set.
    AddressOnly,
    /// A directory of Unix sockets.
    Unix(PathBuf),
}

/// A password, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl HostEntry {
    /// The host for display: its name, its address if it has none, or the socket directory.
    pub(crate) fn name(&self) -> String {
        match (&self.host, self.address) {
            (HostName::Tcp(name), _) => name.clone(),
            (HostName::AddressOnly, address) => address.map_or(String::new(), |address| address.to_string()),
            (HostName::Unix(directory), _) => directory.display().to_string(),
        }
    }

    /// The name that the server's certificate is verified against; empty if the settings give none.
    pub(crate) fn certificate_name(&self) -> &str {
        match &self.host {
            HostName::Tcp(name) => name,
            HostName::AddressOnly | HostName::Unix(_) => "",
        }
    }

    /// Whether this is a socket directory.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.host, HostName::Unix(_)) && self.address.is_none()
    }

    /// This host as an endpoint; `address` is the one that was connected to.
    pub(crate) fn endpoint(&self, address: Option<IpAddr>) -> Endpoint {
        Endpoint { host: self.name(), address, port: self.port }
    }
}

/// The server, or the pooler before it, that a connection goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Endpoint {
    /// The host as the settings name it: a name, an IP address, or the directory of the Unix socket.
    pub host: String,
    /// The IP address that was connected to; `None` for a Unix socket, or if the name was not resolved.
    pub address: Option<IpAddr>,
    /// The TCP port, or the number in the name of the Unix socket.
    pub port: u16,
}

impl Endpoint {
    /// Whether this is a Unix socket or a loopback address, so that the server, or a pooler, runs on this machine.
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/') && self.address.is_none()
            || self.address.is_some_and(|ip| ip.is_loopback())
    }
}

/// As in a URL: `host:5432`, `[::1]:5432` or `[/run/postgresql]`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { host, port, .. } = self;
        match host {
            host if host.starts_with('/') && *port == DEFAULT_PORT => write!(f, "[{host}]"),
            host if host.contains([':', '/']) => write!(f, "[{host}]:{port}"),
            host => write!(f, "{host}:{port}"),
        }
    }
}

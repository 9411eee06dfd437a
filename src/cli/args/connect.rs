//! The server, named part by part as for psql.

use clap::Args;

/// Parts of the connection settings; each overrides its part of the URL, the service and the PG* variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Connect {
    /// Host of the server, or the directory of its socket; these four flags override the URL and the PG* variables
    #[arg(long, value_name = "HOST", help_heading = "Server")]
    pub host: Option<String>,
    /// Port of the server
    #[arg(short, long, value_name = "PORT", help_heading = "Server")]
    pub port: Option<String>,
    /// Role to log in as
    #[arg(short = 'U', long, value_name = "ROLE", help_heading = "Server")]
    pub username: Option<String>,
    /// Database, or a URL
    #[arg(long, value_name = "DATABASE", help_heading = "Server")]
    pub dbname: Option<String>,
}

impl Connect {
    /// The parameters that are given: their names in connection settings, their values, and the flags.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, &str, &'static str)> {
        let Connect { host, port, username, .. } = self;
        let given = [
            ("host", host.as_deref(), "--host"),
            ("port", port.as_deref(), "--port"),
            ("user", username.as_deref(), "--username"),
            ("dbname", self.dbname.as_deref().filter(|_| self.url().is_none()), "--dbname"),
        ];
        given.into_iter().filter_map(|(key, value, flag)| Some((key, value?, flag))).collect()
    }

    /// The URL, or the key=value string, that is given as the database, as psql allows.
    pub(crate) fn url(&self) -> Option<&str> {
        self.dbname.as_deref().filter(|name| name.contains("://") || name.contains('='))
    }
}

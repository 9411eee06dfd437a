//! The names of settings: which of libpq's we act on, which make no difference, which we refuse.

use crate::{Error, Result};

/// The settings we act on, by libpq's names, with the environment variable of each.
pub(super) const PARAMETERS: [(&str, &str); 27] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("dbname", "PGDATABASE"),
    ("service", "PGSERVICE"),
    ("servicefile", "PGSERVICEFILE"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    // the driver's name for keepalives_count
    ("keepalives_retries", ""),
    ("tcp_user_timeout", ""),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
];

/// libpq's settings that make no difference here: the driver always speaks UTF-8, sends the host's name in TLS,
/// does not compress, and knows no GSSAPI.
const MOOT: [&str; 6] =
    ["client_encoding", "krbsrvname", "gsslib", "gssdelegation", "sslcompression", "sslsni"];

/// libpq's settings that we cannot honour, and must not pretend to, with the environment variable of each.
pub(super) const UNSUPPORTED: [(&str, &str); 11] = [
    ("gssencmode", "PGGSSENCMODE"),
    ("replication", ""),
    ("require_auth", "PGREQUIREAUTH"),
    ("requirepeer", "PGREQUIREPEER"),
    ("requiressl", "PGREQUIRESSL"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslpassword", ""),
];

/// Whether an unsupported setting asks for nothing that is not so anyway.
fn holds_anyway(key: &str, value: &str) -> bool {
    match key {
        "gssencmode" => matches!(value, "" | "disable" | "prefer"),
        "requiressl" => matches!(value, "" | "0"),
        "ssl_min_protocol_version" => matches!(value, "" | "TLSv1" | "TLSv1.1" | "TLSv1.2"),
        "sslcertmode" => matches!(value, "" | "allow"),
        _ => value.is_empty(),
    }
}

/// Whether to keep a setting: false if it changes nothing here, an error if we do not know or cannot honour it.
pub(super) fn check_key(key: &str, value: &str, origin: &str, may_be_secret: bool) -> Result<bool> {
    if PARAMETERS.iter().any(|&(known, _)| known == key) {
        return Ok(true);
    }
    if MOOT.contains(&key) {
        return Ok(false);
    }
    if UNSUPPORTED.iter().any(|&(known, _)| known == key) {
        if holds_anyway(key, value) {
            return Ok(false);
        }
        return Err(refuse(origin, format!("parameter {key} in {origin} is not supported"))
            .with_help(format!("leave {key} out")));
    }
    let like = |known: &str| strsim::jaro_winkler(known, key);
    let nearest = PARAMETERS.iter().map(|&(known, _)| known).max_by(|a, b| like(a).total_cmp(&like(b)));
    let message = if may_be_secret {
        format!("unknown parameter in {origin}")
    } else {
        format!("unknown parameter {key} in {origin}")
    };
    Err(refuse(origin, message).with_help(match nearest.filter(|known| like(known) > 0.85) {
        Some(known) => format!("did you mean {known}? as in postgresql://user@host:5432/database?{known}=…"),
        None if may_be_secret => "put a value with blanks in quotes: password='a b'".to_owned(),
        None => "write parameters as libpq names them: \
                 postgresql://user@host:5432/database?sslmode=require&connect_timeout=5"
            .to_owned(),
    }))
}

/// An error of the kind that fits where the setting came from.
pub(super) fn refuse(origin: &str, message: String) -> Error {
    if origin.contains(".toml") { Error::config(message) } else { Error::usage(message) }
}

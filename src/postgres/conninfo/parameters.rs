//! The connection parameters of libpq: supported, without effect here, and not supported.

use crate::{Error, Result};

/// The supported parameters by their libpq names, each with its environment variable (empty if it has none).
pub(super) const PARAMETERS: [(&str, &str); 34] = [
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
    // The driver's name for keepalives_count.
    ("keepalives_retries", ""),
    ("tcp_user_timeout", ""),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslpassword", ""),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("requirepeer", "PGREQUIREPEER"),
    ("require_auth", "PGREQUIREAUTH"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
];

/// Parameters of libpq that have no effect here: the driver always uses UTF-8, sends the host name in TLS, does not
/// compress, and does not support GSSAPI.
const WITHOUT_EFFECT: [&str; 6] =
    ["client_encoding", "krbsrvname", "gsslib", "gssdelegation", "sslcompression", "sslsni"];

/// Parameters of libpq that are not supported, each with its environment variable (empty if it has none). Ignoring them
/// could weaken what the user has asked for.
pub(super) const UNSUPPORTED: [(&str, &str); 6] = [
    ("gssencmode", "PGGSSENCMODE"),
    ("replication", ""),
    ("requiressl", "PGREQUIRESSL"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("min_protocol_version", "PGMINPROTOCOLVERSION"),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION"),
];

/// Whether the value of an unsupported parameter requests what happens here anyway.
fn holds_anyway(key: &str, value: &str) -> bool {
    match key {
        "gssencmode" => matches!(value, "" | "disable" | "prefer"),
        "requiressl" => matches!(value, "" | "0"),
        // The driver speaks version 3.0 of the protocol, as all servers do.
        "min_protocol_version" => matches!(value, "" | "3.0"),
        "max_protocol_version" => matches!(value, "" | "3.0" | "3.2" | "latest"),
        "sslcertmode" => matches!(value, "" | "allow"),
        _ => value.is_empty(),
    }
}

/// Whether to keep a parameter: false if it has no effect here.
///
/// With `may_be_secret`, the error does not repeat `key`.
///
/// # Errors
/// When the parameter is unknown, or not supported.
pub(super) fn check_key(key: &str, value: &str, origin: &str, may_be_secret: bool) -> Result<bool> {
    if PARAMETERS.iter().any(|&(known, _)| known == key) {
        return Ok(true);
    }
    if WITHOUT_EFFECT.contains(&key) {
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
    // A text that is no URL, such as user:password@host/db?x=1, may be anything up to its first equals sign.
    let may_be_secret = may_be_secret || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let message = if may_be_secret {
        format!("unknown parameter in {origin}")
    } else {
        format!("unknown parameter {key} in {origin}")
    };
    Err(refuse(origin, message).with_help(match nearest.filter(|known| like(known) > 0.85) {
        Some(known) => format!("did you mean {known}? (postgresql://user@host:5432/database?{known}=…)"),
        None if may_be_secret => "quote values that contain spaces: password='a b'".to_owned(),
        None => "use the parameter names of libpq: \
                 postgresql://user@host:5432/database?sslmode=require&connect_timeout=5"
            .to_owned(),
    }))
}

/// An error about a setting: of kind config if `origin` is a `.toml` file, otherwise of kind usage.
pub(super) fn refuse(origin: &str, message: String) -> Error {
    if origin.contains(".toml") { Error::config(message) } else { Error::usage(message) }
}

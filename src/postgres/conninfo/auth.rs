//! libpq's `require_auth`: by which methods the server may authenticate the client.

use tokio_postgres_sync_batching::AuthMethod;

/// The valid values, for errors.
pub(super) const TAKES: &str = "a comma-separated list of allowed methods (password, md5, gss, sspi, scram-sha-256, \
                                none), or of forbidden ones, each with ! before it";

const METHODS: [(&str, AuthMethod); 6] = [
    ("password", AuthMethod::Password),
    ("md5", AuthMethod::Md5),
    ("gss", AuthMethod::Gss),
    ("sspi", AuthMethod::Sspi),
    ("scram-sha-256", AuthMethod::Scram),
    ("none", AuthMethod::None),
];

/// The methods that `text` allows; `None` if it is not valid.
pub(super) fn parse(text: &str) -> Option<Vec<AuthMethod>> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    let negated = names.iter().filter(|name| name.starts_with('!')).count();
    if negated != 0 && negated != names.len() {
        return None;
    }
    let mut listed = Vec::with_capacity(names.len());
    for name in names {
        let name = name.strip_prefix('!').unwrap_or(name);
        let &(_, method) = METHODS.iter().find(|(known, _)| *known == name)?;
        if listed.contains(&method) {
            return None;
        }
        listed.push(method);
    }
    if negated == 0 {
        return Some(listed);
    }
    Some(METHODS.iter().map(|&(_, method)| method).filter(|method| !listed.contains(method)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use AuthMethod::{Gss, Md5, None as Nothing, Password, Scram, Sspi};

    #[test]
    fn methods_are_listed_or_excluded_but_not_both() {
        assert_eq!(parse("scram-sha-256, md5"), Some(vec![Scram, Md5]));
        assert_eq!(parse("!password,!none"), Some(vec![Md5, Gss, Sspi, Scram]));
        assert_eq!(parse("!password,md5"), None);
        assert_eq!(parse("md5,md5"), None);
        assert_eq!(parse("md5,"), None);
        assert_eq!(parse("none"), Some(vec![Nothing]));
        assert_eq!(parse("password"), Some(vec![Password]));
    }
}

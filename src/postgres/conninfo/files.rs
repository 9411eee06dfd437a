//! Reads the connection service file and the password file of libpq.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::postgres::conninfo::text::Pairs;

/// The parameters of section `[service]` in a service file; `None` if the file or the section does not exist.
pub(super) fn service(path: &Path, service: &str) -> Result<Option<Pairs>, String> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| error.to_string())?,
    };
    let mut found: Option<Pairs> = None;
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            found = (name == service).then(Pairs::new);
        } else if let Some(pairs) = &mut found {
            let (key, value) = line.split_once('=').ok_or(format!("line {number} is not key=value"))?;
            if key == "service" {
                return Err(format!("line {number} refers to another service, which is not allowed"));
            }
            // In a service file, unlike elsewhere, libpq uses the first of two values.
            if !pairs.iter().any(|(known, _)| known == key) {
                pairs.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(found)
}

/// The login to find a password for.
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

/// The content of a password file, which need not be text. Empty if the file does not exist, and, with a warning, if it
/// cannot be read or other users have access to it.
pub(super) fn read_passwords(path: &Path) -> Vec<u8> {
    match fs::metadata(path) {
        Ok(file) if !file.is_file() => {
            tracing::warn!("password file {} is ignored: it is not a regular file", path.display());
        }
        Ok(file) if file.mode() & 0o077 != 0 => {
            let path = path.display();
            tracing::warn!(
                "password file {path} is ignored: other users have access to it; run `chmod 600 {path}`"
            );
        }
        Ok(_) => match fs::read(path) {
            Ok(content) => return content,
            Err(error) => tracing::warn!("failed to read password file {}: {error}", path.display()),
        },
        Err(_) => {}
    }
    Vec::new()
}

/// The password in the first line `host:port:database:user:password` that matches; `None` if that password is empty.
pub(super) fn password(content: &[u8], login: &Login<'_>) -> Option<Vec<u8>> {
    let lines = content.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let matching = lines.filter(|line| !line.starts_with(b"#")).find_map(|line| {
        let (host, rest) = field(line)?;
        let (port, rest) = field(rest)?;
        let (dbname, rest) = field(rest)?;
        let (user, password) = field(rest)?;
        let matches = |pattern: &[u8], value: &str| pattern == b"*" || unescape(pattern) == value.as_bytes();
        let all = matches(host, login.host)
            && matches(port, login.port)
            && matches(dbname, login.dbname)
            && matches(user, login.user);
        all.then(|| unescape(password))
    });
    matching.filter(|password| !password.is_empty())
}

/// What comes before and after the first colon that is not escaped with a backslash.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = line.iter().position(|&byte| {
        let colon = byte == b':' && !escaped;
        escaped = byte == b'\\' && !escaped;
        colon
    })?;
    Some((&line[..end], &line[end + 1..]))
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_line_supplies_the_password() {
        let text = "# db:5432:shop:ann:comment\n\
                    db:5432:shop:bob:one\n\
                    broken line\n\
                    db:*:shop:ann:two:with colon\n\
                    \\:\\:1:5432:*:ann:th\\\\ree\\:\n\
                    localhost:5432:*:*:socket\n\
                    *:*:*:*:any\n";
        let find = |host, port, user| {
            let found = password(text.as_bytes(), &Login { host, port, dbname: "shop", user }).unwrap();
            String::from_utf8(found).unwrap()
        };
        assert_eq!(find("db", "5432", "bob"), "one");
        assert_eq!(find("db", "1", "ann"), "two:with colon");
        assert_eq!(find("::1", "5432", "ann"), "th\\ree:");
        assert_eq!(find("localhost", "5432", "eve"), "socket");
        assert_eq!(find("db", "5432", "eve"), "any");
        let login = Login { host: "db", port: "1", dbname: "shop", user: "ann" };
        assert_eq!(password(b"db:1:shop:bob:x", &login), None);
    }

    #[test]
    fn an_empty_password_ends_the_search_and_a_bad_byte_does_not() {
        let login = Login { host: "db", port: "1", dbname: "shop", user: "ann" };
        assert_eq!(password(b"db:*:*:*:\n*:*:*:*:other\n", &login), None);
        assert_eq!(password(b"\xff:*:*:*:x\ndb:*:*:*:\xe9\r\n", &login), Some(b"\xe9".to_vec()));
    }

    #[test]
    fn a_password_file_accessible_to_other_users_is_ignored() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        fs::write(&path, "*:*:*:*:secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read_passwords(&path), b"");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_passwords(&path), b"*:*:*:*:secret\n");
        assert_eq!(read_passwords(dir.path()), b"");
    }

    #[test]
    fn a_service_is_the_section_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pg_service.conf");
        fs::write(
            &path,
            "# none\n[a]\nhost=a\n\n[b]\n host=b\nhost=c\ndbname=x=y\n[c]\nport\n[d]\nservice=a\n",
        )
        .unwrap();
        let pairs = service(&path, "b").unwrap().unwrap();
        assert_eq!(pairs, [("host".into(), "b".into()), ("dbname".into(), "x=y".into())]);
        assert_eq!(service(&path, "e"), Ok(None));
        assert_eq!(service(&path, "c").unwrap_err(), "line 10 is not key=value");
        assert_eq!(
            service(&path, "d").unwrap_err(),
            "line 12 refers to another service, which is not allowed"
        );
        assert_eq!(service(&dir.path().join("none"), "a"), Ok(None));
    }
}

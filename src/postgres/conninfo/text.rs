//! Parses the two notations for connection settings, URLs and `key=value` strings, as libpq does.
//!
//! Errors never quote the text: any part of it may contain a password with an unescaped `/` or space.

use percent_encoding::percent_decode_str;

/// Parameters by their libpq names, in the order of the text; a later value replaces an earlier one.
pub(super) type Pairs = Vec<(String, String)>;

/// Parse `text`; the error describes the problem.
pub(super) fn parse(text: &str) -> Result<Pairs, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        return url(rest);
    }
    if text.starts_with("jdbc:") {
        return Err("it is a JDBC URL".to_owned());
    }
    match text.split_once("://") {
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => {
            Err(format!("unknown scheme {scheme}://"))
        }
        _ => words(text),
    }
}

fn url(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut rest = text;
    // The credentials end at the first @, unless a / precedes it.
    if let Some(end) = rest.find(['@', '/']).filter(|&end| rest[end..].starts_with('@')) {
        let (user, password) = split_once(&rest[..end], ':');
        push(&mut pairs, "user", user)?;
        push(&mut pairs, "password", password)?;
        rest = &rest[end + 1..];
    }
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = split_once(tail, '?');
    hosts(&mut pairs, authority)?;
    if path.contains('@') {
        // libpq reads it as part of the database name, but it is far more likely to be the end of a password.
        return Err("an @ comes after the first /".to_owned());
    }
    push(&mut pairs, "dbname", path.strip_prefix('/').unwrap_or(path))?;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) =
            parameter.split_once('=').ok_or("a parameter after the ? has no value".to_owned())?;
        match (decode(key)?.as_str(), decode(value)?) {
            // The spelling of JDBC, which libpq accepts.
            ("ssl", value) if value == "true" => pairs.push(("sslmode".into(), "require".into())),
            (key, value) => pairs.push((key.to_owned(), value)),
        }
    }
    Ok(pairs)
}

/// Parse `host:port,[::1]:port,…` into the comma-separated parameters `host` and `port`.
fn hosts(pairs: &mut Pairs, authority: &str) -> Result<(), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for part in authority.split(',') {
        let (host, port) = match part.strip_prefix('[') {
            Some(v6) => {
                let (host, after) =
                    v6.split_once(']').ok_or("an IPv6 address has no closing ]".to_owned())?;
                let port = after.strip_prefix(':');
                if port.is_none() && !after.is_empty() {
                    return Err("an IPv6 address is not followed by : or /".to_owned());
                }
                (host, port.unwrap_or(""))
            }
            None => split_once(part, ':'),
        };
        hosts.push(host);
        ports.push(port);
    }
    let (hosts, ports) = (hosts.join(","), ports.join(","));
    if hosts.contains('@') {
        return Err("more than one @ comes before the host".to_owned());
    }
    if !ports.chars().all(|c| c.is_ascii_digit() || c == ',') {
        return Err("the port is not a number".to_owned());
    }
    push(pairs, "host", &hosts)?;
    push(pairs, "port", &ports)
}

fn split_once(text: &str, at: char) -> (&str, &str) {
    text.split_once(at).unwrap_or((text, ""))
}

fn push(pairs: &mut Pairs, key: &str, value: &str) -> Result<(), String> {
    if !value.is_empty() {
        pairs.push((key.to_owned(), decode(value)?));
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, String> {
    let malformed = text.split('%').skip(1).any(|after| {
        let digits = after.as_bytes().first_chunk::<2>();
        digits.is_none_or(|digits| !digits.iter().all(u8::is_ascii_hexdigit) || digits == b"00")
    });
    let decoded = percent_decode_str(text).decode_utf8();
    match decoded {
        Ok(decoded) if !malformed => Ok(decoded.into_owned()),
        _ => Err("invalid percent-encoding: a % must be followed by two hexadecimal digits, of UTF-8 text"
            .to_owned()),
    }
}

/// Parse `key=value key = 'a \'quoted\' value'`.
fn words(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let at = text[..text.len() - rest.len()].chars().count() + 1;
        let (key, after) =
            rest.split_once('=').ok_or(format!("neither a URL nor key=value at character {at}"))?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("no key=value at character {at}"));
        }
        let (value, after) =
            value(after.trim_start()).ok_or(format!("no closing ' in the value at character {at}"))?;
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// The first value and the text after it; `None` if its quote is not closed.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let (quoted, text) = text.strip_prefix('\'').map_or((false, text), |text| (true, text));
    let mut chars = text.chars();
    loop {
        let before = chars.as_str();
        match chars.next() {
            None => return (!quoted).then_some((value, "")),
            Some('\'') if quoted => return Some((value, chars.as_str())),
            Some(c) if !quoted && c.is_whitespace() => return Some((value, before)),
            Some('\\') => value.extend(chars.next()),
            Some(c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(pairs) => pairs.iter().flat_map(|(key, value)| [key, "=", value, ";"]).collect(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn urls() {
        assert_eq!(read("postgres://"), "");
        assert_eq!(read("postgresql:///db"), "dbname=db;");
        assert_eq!(read("postgres://u:p%40%3A@h:1/d%20b"), "user=u;password=p@:;host=h;port=1;dbname=d b;");
        assert_eq!(read("postgres://a:1,b,[::1]:3/"), "host=a,b,::1;port=1,,3;");
        assert_eq!(
            read("postgres://%2Frun%2Fpg/db?port=5&ssl=true"),
            "host=/run/pg;dbname=db;port=5;sslmode=require;"
        );
        assert_eq!(read("postgres://h?dbname=x"), "host=h;dbname=x;");
        assert_eq!(read("postgres://u:a:b@h"), "user=u;password=a:b;host=h;");
        assert_eq!(read("postgres://u@/d?host=/tmp"), "user=u;dbname=d;host=/tmp;");
    }

    #[test]
    fn errors_about_malformed_urls_do_not_reveal_secrets() {
        for (text, error) in [
            ("mysql://u:secret@h/d", "unknown scheme mysql://"),
            ("jdbc:postgresql://h/d?password=secret", "it is a JDBC URL"),
            ("u:secret@h/d", "neither a URL nor key=value at character 1"),
            ("postgres://u:sec/ret@h/d", "the port is not a number"),
            ("postgres://u:12/34@h/d", "an @ comes after the first /"),
            ("postgres://u:sec@ret@h/d", "more than one @ comes before the host"),
            (
                "postgres://u:secret%4@h/d",
                "invalid percent-encoding: a % must be followed by two hexadecimal digits, of UTF-8 text",
            ),
            (
                "postgres://h/d%ff",
                "invalid percent-encoding: a % must be followed by two hexadecimal digits, of UTF-8 text",
            ),
            ("postgres://h/d?secret", "a parameter after the ? has no value"),
            ("postgres://[::1/d", "an IPv6 address has no closing ]"),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn key_value_words() {
        assert_eq!(read("host=h  port = 1"), "host=h;port=1;");
        assert_eq!(read(r"password='a b\'\\' user=a\ b"), r"password=a b'\;user=a b;");
        assert_eq!(read("host='' dbname="), "host=;dbname=;");
        assert_eq!(read("host=h secret"), "error: neither a URL nor key=value at character 8");
        assert_eq!(read("password=my secret host=h"), "error: no key=value at character 13");
        assert_eq!(read("host='h"), "error: no closing ' in the value at character 1");
    }
}

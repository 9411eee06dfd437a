//! Connection settings: no text panics, and none shows a password.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postgres_etl::postgres::conninfo;

const PASSWORD: &str = "s3cret-Passw0rd";

fuzz_target!(|text: &str| {
    let lookup = |name: &str| match name {
        "PGUSER" => Some("ann".to_owned()),
        "PGPASSWORD" => Some(PASSWORD.to_owned()),
        _ => None,
    };
    // Neither files are what is tried here, nor that the password is also, say, the host.
    if text.contains(PASSWORD)
        || text.contains("passfile")
        || text.contains("service")
        || text.contains("ssl")
    {
        return;
    }
    match conninfo::resolve(Some((text, "a test")), &lookup) {
        Ok(Some(conninfo)) => {
            let shown = format!("{conninfo:?} {}", conninfo.describe());
            assert!(!shown.contains(PASSWORD), "{shown}");
        }
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

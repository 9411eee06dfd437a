//! The driver itself, against a server that answers from a script.

use futures::future::{join, join3};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};

use super::*;
use crate::is_skipped;

/// Reads to the end of a Sync, and returns what was read.
async fn read_to_sync(server: &mut DuplexStream) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(wire::SYNC_MESSAGE) {
        read.push(server.read_u8().await.unwrap());
    }
    read
}

/// An `ErrorResponse` of the server's own with SQLSTATE 25P02.
fn own_error() -> Vec<u8> {
    let fields = b"SERROR\0VERROR\0C25P02\0Maborted\0Rexec_execute_message\0\0";
    [b"E", (fields.len() as u32 + 4).to_be_bytes().as_slice(), fields].concat()
}

#[tokio::test]
async fn only_statements_that_never_ran_are_skipped() {
    let (below, mut server) = duplex(1 << 16);
    let stream = SyncBatching::new(below, NonZero::new(100).unwrap());
    let serve = async {
        let startup = server.read_u32().await.unwrap();
        server.read_exact(&mut vec![0; startup as usize - 4]).await.unwrap();
        server.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
        assert_eq!(tags(&read_to_sync(&mut server).await), "PDS");
        server.write_all(b"1\0\0\0\x04t\0\0\0\x06\0\0n\0\0\0\x04Z\0\0\0\x05I").await.unwrap();
        assert_eq!(tags(&read_to_sync(&mut server).await), "BEBEBES");
        let answers = [b"2\0\0\0\x04C\0\0\0\x07DO\0".as_slice(), &own_error(), b"Z\0\0\0\x05I"];
        server.write_all(&answers.concat()).await.unwrap();
    };
    let drive = async {
        let (client, connection) = Config::new().user("test").connect_raw(stream, NoTls).await.unwrap();
        tokio::spawn(connection);
        let statement = client.prepare("DO $$ $$").await.unwrap();
        let execute = || client.execute(&statement, &[]);
        let (first, second, third) = join3(execute(), execute(), execute()).await;
        assert_eq!(first.unwrap(), 0);
        let (own, skipped) = (second.unwrap_err(), third.unwrap_err());
        assert_eq!(own.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
        assert_eq!(skipped.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
        assert!(!is_skipped(&own), "{own:?}");
        assert!(is_skipped(&skipped), "{skipped:?}");
    };
    join(serve, drive).await;
}

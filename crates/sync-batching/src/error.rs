//! Errors of the driver's own type, which only the driver can make.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, Error, NoTls};

/// The driver's error for `response`, a whole `ErrorResponse` message.
pub(crate) fn from_response(response: &[u8]) -> Error {
    refuse(Ok(response))
}

/// The driver's error for a connection that fails with `error`.
pub(crate) fn from_io(error: io::Error) -> Error {
    refuse(Err(error))
}

/// Lets the driver log in to a server that gives this answer at once.
fn refuse(answer: io::Result<&[u8]>) -> Error {
    let mut config = Config::new();
    config.user("-").ssl_mode(SslMode::Disable);
    let login = pin!(config.connect_raw(Refusal { answer: Some(answer) }, NoTls));
    match login.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) => error,
        Poll::Ready(Ok(_)) | Poll::Pending => unreachable!("the answer is there, and is no permission"),
    }
}

/// A server that refuses a login.
struct Refusal<'a> {
    answer: Option<io::Result<&'a [u8]>>,
}

impl AsyncRead for Refusal<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.answer.take() {
            Some(Ok(bytes)) => {
                let (now, later) = bytes.split_at(bytes.len().min(buf.remaining()));
                buf.put_slice(now);
                self.answer = (!later.is_empty()).then_some(Ok(later));
                Poll::Ready(Ok(()))
            }
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Refusal<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::error::SqlState;

    use super::*;

    #[test]
    fn the_driver_reads_what_the_server_said() {
        let fields = b"SERROR\0VERROR\0C23505\0Mduplicate\0Dkey 1\0\0";
        let response = [b"E", (fields.len() as u32 + 4).to_be_bytes().as_slice(), fields].concat();
        let error = from_response(&response);
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
        assert_eq!(error.as_db_error().unwrap().detail(), Some("key 1"));
        let error = from_io(io::ErrorKind::ConnectionReset.into());
        let source = error.into_source().unwrap().downcast::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
    }
}

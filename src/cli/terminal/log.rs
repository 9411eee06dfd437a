//! The log on standard error: warnings, and with -v what is done and why.

use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::terminal::messages::say;

/// What the driver logs of each statement without its parameters, which may be secret.
const SQL: &str = "tokio_postgres::prepare=debug,tokio_postgres::simple_query=debug";

/// Start logging as much as `verbose`, the number of -v, asks for.
pub(crate) fn start(verbose: u8) {
    let filter = match verbose {
        // The pool warns of every lost connection, which the command reports anyway.
        0 => "warn,deadpool.postgres=error".to_owned(),
        1 => "warn,postgres_etl=debug".to_owned(),
        _ => format!("info,postgres_etl=trace,{SQL}"),
    };
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_ansi(false);
    if io::stderr().is_terminal() {
        log.event_format(Plain).with_writer(|| Lines).init();
    } else {
        log.with_writer(io::stderr).init();
    }
}

/// Events as messages, without the time and the module.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        })?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Prints what is written, which is whole events.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, events: &[u8]) -> io::Result<usize> {
        say(String::from_utf8_lossy(events).trim_end());
        Ok(events.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! The log on standard error: warnings, and with -v what is done and why.

use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::terminal::messages::say;

/// Start logging as much as `verbose`, the number of -v, asks for.
pub(crate) fn start(verbose: u8) {
    let all = |level| Targets::new().with_default(level);
    let targets = match verbose {
        // The pool warns of every lost connection, which the command reports anyway.
        0 => all(Level::WARN).with_target("deadpool.postgres", Level::ERROR),
        1 => all(Level::WARN).with_target("postgres_etl", Level::DEBUG),
        _ => all(Level::INFO)
            .with_target("postgres_etl", Level::TRACE)
            // What the driver logs of each statement without its parameters, which may be secret.
            .with_target("tokio_postgres::prepare", Level::DEBUG)
            .with_target("tokio_postgres::simple_query", Level::DEBUG),
    };
    let lines = tracing_subscriber::fmt::layer().with_ansi(false);
    let registry = tracing_subscriber::registry();
    if io::stderr().is_terminal() {
        registry.with(lines.event_format(Plain).with_writer(|| Lines).with_filter(targets)).init();
    } else {
        registry.with(lines.with_writer(io::stderr).with_filter(targets)).init();
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

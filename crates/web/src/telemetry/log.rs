//! Where the log goes and how it looks.

use std::io::IsTerminal;

use kernel::{Error, Result};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// What PostgreSQL remarks by the way ("already exists, skipping") is of no use
/// to whoever runs a shop; a filter that names it hears it all the same.
const QUIET: &str = "tokio_postgres=warn";

/// Starts the log, on standard error: `pretty` for people, otherwise one JSON
/// object a line. `filter` is as `info` or `info,orders=debug`. Fails if
/// the filter cannot be read, or a log was started before.
pub fn init(filter: &str, pretty: bool) -> Result<()> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::invalid(
            "invalid_log_filter",
            format!("a log filter looks like info,orders=debug, not {filter:?}: {error}"),
        )
    };
    let levels = EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| wrong(&error))?;
    let log = tracing_subscriber::registry().with(levels);
    let started = if pretty {
        log.with(
            fmt::layer()
                .with_writer(std::io::stderr)
                .with_target(false)
                .with_ansi(std::io::stderr().is_terminal()),
        )
        .try_init()
    } else {
        let lines = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
        log.with(lines.with_writer(std::io::stderr)).try_init()
    };
    started.map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let error = init("info,orders=loud", false).unwrap_err();

        assert_eq!(error.code, "invalid_log_filter");
        assert!(error.message.contains("orders=loud"), "{}", error.message);
    }
}

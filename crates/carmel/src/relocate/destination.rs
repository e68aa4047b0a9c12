//! Where a shop moves to, as the command is told.

use std::path::PathBuf;

use kernel::{Error, Kind, Result};

/// An address on the command line is seen by everybody on the machine (`ps`),
/// one in a file is not.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Destination {
    /// Where to: `postgres://user:password@host:port/database`. Whoever is on
    /// this machine can read it while the command runs: `--to-file` keeps it.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// A file that holds that address; `/dev/stdin` is standard input.
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
}

impl Destination {
    /// The address. A secret.
    pub fn url(&self) -> Result<String> {
        let Some(path) = &self.to_file else { return Ok(self.to.clone().unwrap_or_default()) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!(
                "{} cannot be read ({error}); a file that holds postgres://… would be right",
                path.display()
            );
            Error::new(Kind::Invalid, "to_file_unreadable", message)
        })?;
        Ok(text.trim().to_owned())
    }
}

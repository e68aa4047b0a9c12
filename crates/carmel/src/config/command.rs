//! `carmel config`: look at the settings without starting anything.

use std::process::ExitCode;

use super::{
    keys::keys,
    load::{Flags, Loaded, load},
    reference,
};

/// What can be asked about the settings.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Says whether the settings are right, and what is wrong with them if not.
    Check,
    /// Shows the settings in force and where each came from, secrets hidden.
    Print,
    /// Lists every setting with its default.
    Reference {
        /// As the page docs/settings.md.
        #[arg(long, conflicts_with = "toml")]
        markdown: bool,
        /// As the file carmel.sample.toml (the default).
        #[arg(long)]
        toml: bool,
    },
}

/// Runs it; exit status 2 when the settings are wrong.
pub fn run(command: &ConfigCommand, flags: &Flags) -> ExitCode {
    if let ConfigCommand::Reference { markdown, .. } = command {
        print!("{}", if *markdown { reference::markdown() } else { reference::sample() });
        return ExitCode::SUCCESS;
    }
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    match command {
        ConfigCommand::Print => print!("{}", printed(&loaded)),
        _ => println!("ok"),
    }
    ExitCode::SUCCESS
}

/// The settings in force, one per line and in TOML, each with where it came from.
pub fn printed(loaded: &Loaded) -> String {
    let keys = keys();
    let lines: Vec<_> =
        keys.iter().map(|key| format!("{} = {}", key.name, (key.show)(&loaded.config))).collect();
    // Very long values would push every remark off the screen.
    let width = lines.iter().map(|line| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    lines.iter().zip(&loaded.origins).map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect()
}

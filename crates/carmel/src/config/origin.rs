//! Where a value came from, and what is said when it is wrong.

use std::{fmt, path::PathBuf};

use super::declare::{Key, Wrong};

/// Where a value came from. As text it is what a person looks for: the file
/// and the line, the variable, the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// The settings file.
    File {
        /// As it was named.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable {
        /// Its name.
        name: String,
    },
    /// A line of `.env`.
    DotEnv {
        /// The variable it sets.
        name: String,
        /// From 1.
        line: usize,
    },
    /// A file that a `…_FILE` variable names.
    SecretFile {
        /// The variable, and where that was set.
        variable: Box<Origin>,
        /// The file.
        path: PathBuf,
    },
    /// A flag of the command line.
    Flag {
        /// As it was written: `--port`, `--set server.port`.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{} line {line}", path.display()),
            Origin::Variable { name } => f.write_str(name),
            Origin::DotEnv { name, line } => write!(f, "{name} (.env line {line})"),
            Origin::SecretFile { variable, path } => write!(f, "{variable} ({})", path.display()),
            Origin::Flag { name } => f.write_str(name),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where to look: a file and a line, a variable, a flag.
    pub place: String,
    /// What was found there and what would be right. Never the value of a secret.
    pub message: String,
}

impl Problem {
    /// Something is wrong at a place.
    pub(super) fn new(place: impl fmt::Display, message: impl Into<String>) -> Problem {
        Problem { place: place.to_string(), message: message.into() }
    }

    /// A value is not what its key wants.
    pub(super) fn wrong(origin: &Origin, key: &Key, wrong: Wrong) -> Problem {
        Problem::new(
            origin,
            format!("{}: found {}; {} would be right", key.name, wrong.found, wrong.expected),
        )
    }
}

/// All that is wrong with the settings, never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("one setting is wrong:")?,
            many => write!(f, "{many} settings are wrong:")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {}: {}", problem.place, problem.message)?;
        }
        Ok(())
    }
}

/// The candidate that was probably meant: few letters differ, or the right
/// last part was written in the wrong place (`port` for `server.port`).
pub(super) fn meant<'a>(
    written: &str,
    parts: char,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance = |candidate: &str| {
        let whole = strsim::damerau_levenshtein(written, candidate);
        let tail = |text: &str| text.split_once(parts).map_or(text.to_owned(), |(_, tail)| tail.to_owned());
        let tails = strsim::damerau_levenshtein(&tail(written), &tail(candidate)) + 1;
        whole.min(tails)
    };
    candidates
        .map(|candidate| (distance(candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 1 + written.len() / 5)
        .map(|(_, candidate)| candidate)
}

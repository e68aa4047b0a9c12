//! Puts the settings together: defaults, file, `.env`, environment, flags.

use std::{
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    declare::Key,
    file,
    keys::{Config, keys},
    kind::Found,
    origin::{Origin, Problem, Problems, meant},
    variables::{self, Variable},
};

/// The flags that every command takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// The settings file; without it `carmel.toml` in the working folder, if there is one.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The port to listen on: server.port.
    #[arg(long, value_name = "PORT", global = true)]
    pub port: Option<String>,
    /// The folder for data: data.folder.
    #[arg(long, value_name = "FOLDER", global = true)]
    pub data: Option<String>,
    /// Any other setting, such as --set log.level=debug; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

/// Settings that are right, and where each came from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Of each key in its place in the list.
    pub(super) origins: Vec<Origin>,
}

impl Loaded {
    /// Whether somebody set this key, to whatever it is.
    pub fn is_set(&self, name: &str) -> bool {
        let at = keys().iter().position(|key| key.name == name);
        at.is_some_and(|at| !matches!(self.origins[at], Origin::Default))
    }
}

/// The settings of this process: its working folder, its environment and the
/// flags it was given. Fails with all that is wrong.
pub fn load(flags: &Flags) -> Result<Loaded, Problems> {
    gather(Path::new(""), std::env::vars_os(), flags)
}

/// A value that a source gave for a key.
pub(super) struct Given {
    pub(super) key: usize,
    pub(super) origin: Origin,
    pub(super) found: Found,
}

/// The settings as a folder, an environment and flags make them.
pub fn gather(
    folder: &Path,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &Flags,
) -> Result<Loaded, Problems> {
    let keys = keys();
    let (environment, mut problems) = variables::of_environment(environment);
    let dot_env = dot_env(folder, &environment, &mut problems);

    let (mut given, wrong) = settings_file(folder, flags, &environment, &dot_env, &keys);
    problems.extend(wrong);
    for source in [&dot_env, &environment] {
        let heard = variables::read(source, folder, &keys);
        given.extend(heard.given);
        problems.extend(heard.problems);
    }
    let (flagged, wrong) = from_flags(flags, &keys);
    given.extend(flagged);
    problems.extend(wrong);

    let mut config = Config::default();
    let mut origins = vec![Origin::Default; keys.len()];
    for Given { key, origin, found } in given {
        match (keys[key].set)(&mut config, &found) {
            Ok(()) => origins[key] = origin,
            Err(wrong) => problems.push(Problem::wrong(&origin, &keys[key], wrong)),
        }
    }
    if problems.is_empty() {
        for (name, message) in config.contradictions() {
            let at = keys.iter().position(|key| key.name == name);
            let origin = at.map_or(&Origin::Default, |at| &origins[at]);
            problems.push(Problem::new(origin, format!("{name} {message}")));
        }
    }
    if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(Problems(problems)) }
}

fn dot_env(folder: &Path, environment: &[Variable], problems: &mut Vec<Problem>) -> Vec<Variable> {
    let text = match std::fs::read_to_string(folder.join(".env")) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(Problem::new(".env", format!("cannot be read: {error}")));
            return Vec::new();
        }
    };
    let (variables, wrong) = variables::of_dot_env(&text, environment);
    problems.extend(wrong);
    variables
}

fn settings_file(
    folder: &Path,
    flags: &Flags,
    environment: &[Variable],
    dot_env: &[Variable],
    keys: &[Key],
) -> (Vec<Given>, Vec<Problem>) {
    let mut named = environment.iter().chain(dot_env).filter(|variable| variable.name == variables::FILE);
    let (path, asked_by) = match (&flags.config, named.next()) {
        (Some(path), _) => (path.clone(), Some("--config".to_owned())),
        (None, Some(variable)) => (PathBuf::from(&variable.value), Some(variable.origin.to_string())),
        (None, None) => (PathBuf::from("carmel.toml"), None),
    };
    match (std::fs::read_to_string(folder.join(&path)), asked_by) {
        (Ok(text), _) => file::read(&path, &text, keys),
        // Nobody asked for it, so that it is not there is as good as empty.
        (Err(error), None) if error.kind() == ErrorKind::NotFound => (Vec::new(), Vec::new()),
        (Err(error), asked_by) => {
            let place = asked_by.unwrap_or_else(|| path.display().to_string());
            let message = format!(
                "{} cannot be read ({error}); the path of a settings file would be right",
                path.display()
            );
            (Vec::new(), vec![Problem::new(place, message)])
        }
    }
}

fn from_flags(flags: &Flags, keys: &[Key]) -> (Vec<Given>, Vec<Problem>) {
    let (mut given, mut problems) = (Vec::new(), Vec::new());
    let mut give = |name: &str, value: &str, flag: String| {
        let origin = Origin::Flag { name: flag };
        match keys.iter().position(|key| key.name == name) {
            Some(key) => given.push(Given { key, origin, found: Found::Text(value.to_owned()) }),
            None => {
                let hint = match meant(name, '.', keys.iter().map(|key| key.name)) {
                    Some(name) => format!("did you mean {name}?"),
                    None => "`carmel config reference` lists them all".into(),
                };
                problems.push(Problem::new(origin, format!("no such setting; {hint}")));
            }
        }
    };
    for (name, value) in flags.set.iter().filter_map(|pair| pair.split_once('=')) {
        give(name.trim(), value, format!("--set {}", name.trim()));
    }
    // What has a flag of its own was said more plainly than with --set.
    if let Some(port) = &flags.port {
        give("server.port", port, "--port".into());
    }
    if let Some(data) = &flags.data {
        give("data.folder", data, "--data".into());
    }
    // Without a = there is nothing to set, which is not the same as an empty value.
    for bare in flags.set.iter().filter(|pair| !pair.contains('=')) {
        problems.push(Problem::new(format!("--set {bare}"), "has no value; --set KEY=VALUE would be right"));
    }
    (given, problems)
}

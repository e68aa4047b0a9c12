//! Reads variables: of the environment, and of `.env`, which fills its gaps.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    declare::Key,
    keys::PLAIN,
    kind::Found,
    load::Given,
    origin::{Origin, Problem, meant},
};

/// A variable with a value and where it was set.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// What variables give, and what is wrong with them.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) given: Vec<Given>,
    pub(super) problems: Vec<Problem>,
}

/// The variable that names the settings file.
pub(super) const FILE: &str = "CARMEL_CONFIG";

/// Reads the variables of one source. `folder` is where a relative path in a
/// `…_FILE` starts.
pub(super) fn read(variables: &[Variable], folder: &Path, keys: &[Key]) -> Heard {
    let mut heard = Heard::default();
    // First the plain names, so that the more exact CARMEL_… overrides them.
    let names = PLAIN
        .iter()
        .filter_map(|(plain, name)| {
            keys.iter().position(|key| key.name == *name).map(|key| (plain.to_string(), key))
        })
        .chain(keys.iter().enumerate().map(|(at, key)| (key.variable(), at)));
    let names: Vec<(String, usize)> = names.collect();
    for (name, key) in &names {
        let is = |wanted: &str| {
            variables.iter().find(|variable| variable.name == wanted && !is_service_link(variable))
        };
        match (is(name), is(&format!("{name}_FILE"))) {
            (Some(direct), Some(file)) => heard.problems.push(Problem::new(
                &direct.origin,
                format!("{} is set too; one of the two would be right", file.origin),
            )),
            (Some(direct), None) => heard.given.push(Given {
                key: *key,
                origin: direct.origin.clone(),
                found: Found::Text(direct.value.clone()),
            }),
            (None, Some(file)) => match secret_file(file, folder) {
                Ok((origin, text)) => heard.given.push(Given { key: *key, origin, found: Found::Text(text) }),
                Err(problem) => heard.problems.push(problem),
            },
            (None, None) => {}
        }
    }
    for variable in variables {
        unknown(variable, &names, &mut heard.problems);
    }
    heard
}

fn secret_file(variable: &Variable, folder: &Path) -> Result<(Origin, String), Problem> {
    let path = PathBuf::from(&variable.value);
    match std::fs::read_to_string(folder.join(&path)) {
        Ok(text) => {
            let text =
                text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text);
            Ok((Origin::SecretFile { variable: Box::new(variable.origin.clone()), path }, text.to_owned()))
        }
        Err(error) => {
            let message = format!(
                "{} cannot be read ({error}); the path of a readable file would be right",
                path.display()
            );
            Err(Problem::new(&variable.origin, message))
        }
    }
}

fn unknown(variable: &Variable, names: &[(String, usize)], problems: &mut Vec<Problem>) {
    let written = variable.name.strip_suffix("_FILE").unwrap_or(&variable.name);
    let known = names.iter().any(|(name, _)| name == written || *name == variable.name);
    // CARMEL_TEST_… and the like are for the project's own checks, not for the program.
    let ours = written == FILE || written == "CARMEL_ADVISORY_DB" || written.starts_with("CARMEL_TEST_");
    if !written.starts_with("CARMEL_") || known || ours || is_service_link(variable) {
        return;
    }
    let bare = written.trim_start_matches("CARMEL_");
    let candidates = names.iter().filter_map(|(name, _)| name.strip_prefix("CARMEL_"));
    let hint = match meant(bare, '_', candidates) {
        Some(name) => format!("did you mean CARMEL_{name}?"),
        None => "`carmel config reference` lists them all".into(),
    };
    problems.push(Problem::new(&variable.origin, format!("no such setting; {hint}")));
}

/// Kubernetes describes every Service to every pod near it in variables named
/// after the Service. One called `carmel` gives CARMEL_SERVICE_HOST and
/// CARMEL_PORT=tcp://…, one called `carmel-server` even CARMEL_SERVER_PORT.
fn is_service_link(variable: &Variable) -> bool {
    let (name, value) = (variable.name.as_str(), variable.value.as_str());
    let address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let described = ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
        name.split_once("_PORT_").is_some_and(|(_, rest)| {
            rest.split_once(protocol).is_some_and(|(port, _)| port.bytes().all(|byte| byte.is_ascii_digit()))
        })
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && address)
        || described
}

/// The variables of the environment as text. One of ours that is not text is
/// a problem; what others keep there is their business.
pub(super) fn of_environment(
    pairs: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> (Vec<Variable>, Vec<Problem>) {
    let (mut variables, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in pairs {
        let Ok(name) = name.into_string() else { continue };
        let origin = Origin::Variable { name: name.clone() };
        match value.into_string() {
            Ok(value) => variables.push(Variable { name, value, origin }),
            Err(_) if name.starts_with("CARMEL_") || PLAIN.iter().any(|(plain, _)| *plain == name) => {
                problems.push(Problem::new(origin, "is not text in UTF-8"));
            }
            Err(_) => {}
        }
    }
    (variables, problems)
}

/// The variables of a `.env` file that `taken` does not name. Of two lines for
/// one name the later counts.
pub(super) fn of_dot_env(text: &str, taken: &[Variable]) -> (Vec<Variable>, Vec<Problem>) {
    let (mut values, mut problems) = (BTreeMap::new(), Vec::new());
    for pair in dotenvy::from_read_iter(text.as_bytes()) {
        match pair {
            Ok((name, value)) => {
                values.insert(name, value);
            }
            // Its message repeats the line, which may hold a secret.
            Err(dotenvy::Error::LineParse(line, _)) => {
                let at = text.lines().position(|candidate| candidate.trim_end().ends_with(line.trim_end()));
                let place = at.map_or(".env".to_owned(), |at| format!(".env line {}", at + 1));
                problems
                    .push(Problem::new(place, "is not NAME=value; quotes around the value may be missing"));
            }
            Err(error) => problems.push(Problem::new(".env", error.to_string())),
        }
    }
    let is_set = |name: &str| {
        let twin = name.strip_suffix("_FILE").map_or_else(|| format!("{name}_FILE"), str::to_owned);
        taken.iter().any(|variable| variable.name == name || variable.name == twin)
    };
    let variables = values
        .into_iter()
        .filter(|(name, _)| !is_set(name))
        .map(|(name, value)| {
            let origin = Origin::DotEnv { line: line_of(text, &name), name: name.clone() };
            Variable { name, value, origin }
        })
        .collect();
    (variables, problems)
}

fn line_of(text: &str, name: &str) -> usize {
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().enumerate().filter(|(_, line)| sets(line)).map(|(at, _)| at + 1).last().unwrap_or(1)
}

//! Licences and known vulnerabilities of everything that is built in, by
//! cargo-deny.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    needs,
    shell::{Done, cargo, output, root, run, target},
};

/// Names the advisories where there is no internet: the archive of the RustSec
/// database, or a folder that it was unpacked in.
const VARIABLE: &str = "CARMEL_ADVISORY_DB";

/// What cargo-deny calls its copy of the database: the name and a hash of where it usually comes from.
const COPY: &str = "advisory-db-3157b0e258782691";

/// Fails when a licence is not allowed or an advisory fits.
pub fn check() -> Done {
    let deny = needs::cargo_program("cargo-deny")?;
    let config = root().join("deny.toml");
    let mut command = Command::new(deny);
    command.current_dir(root());
    match advisories() {
        // Where nothing lies ready, cargo-deny fetches the newest.
        None => run(command.arg("--config").arg(config).arg("check")),
        Some(source) => {
            eprintln!("the advisories are those of {}", source.display());
            let config = offline(&source, &config)?;
            // Of other platforms, too, which no build has needed yet.
            run(cargo().args(["fetch", "--locked", "--quiet"]).current_dir(root()))?;
            run(command.args(["--offline", "--config"]).arg(config).arg("check"))
        }
    }
}

/// The advisories that lie ready: those that are named, else those beside the workspace.
fn advisories() -> Option<PathBuf> {
    let beside = root().parent().map(|parent| parent.join("shared").join("advisory-db.tar.xz"));
    env::var_os(VARIABLE).map(PathBuf::from).or_else(|| beside.filter(|file| file.is_file()))
}

/// Lays the advisories out as cargo-deny wants them, a repository of one
/// commit, and returns settings that name them.
fn offline(source: &Path, config: &Path) -> Done<PathBuf> {
    let folder = target()?.join("advisories");
    let copy = folder.join(COPY);
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(io(&copy))?;
    }
    fs::create_dir_all(&copy).map_err(io(&copy))?;
    if source.is_dir() {
        let inner = if source.join(COPY).is_dir() { source.join(COPY) } else { source.to_owned() };
        output(Command::new("cp").arg("-R").arg(inner.join(".")).arg(&copy))?;
    } else {
        output(Command::new("tar").arg("-xf").arg(source).arg("-C").arg(&copy))?;
    }
    lift(&copy).map_err(io(&copy))?;
    if !copy.join("crates").is_dir() {
        return Err(format!("{} holds no folder `crates` of advisories", source.display()));
    }
    commit(&copy)?;

    let mut settings: toml::Table = fs::read_to_string(config)
        .map_err(io(config))?
        .parse()
        .map_err(|error| format!("{}: {error}", config.display()))?;
    let section = settings.entry("advisories").or_insert_with(|| toml::Table::new().into());
    let section = section.as_table_mut().ok_or("advisories in deny.toml is no section")?;
    section.insert("db-path".into(), folder.to_string_lossy().into_owned().into());
    let path = target()?.join("deny.toml");
    fs::write(&path, settings.to_string()).map_err(io(&path))?;
    Ok(path)
}

fn io(what: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", what.display())
}

/// An archive often holds one folder with everything in it.
fn lift(copy: &Path) -> std::io::Result<()> {
    let entries: Vec<_> = fs::read_dir(copy)?.flatten().map(|entry| entry.path()).collect();
    if let [only] = &entries[..]
        && only.is_dir()
        && !copy.join("crates").is_dir()
    {
        for entry in fs::read_dir(only)?.flatten() {
            fs::rename(entry.path(), copy.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn commit(copy: &Path) -> Done {
    let repository = copy.join(".git");
    if repository.exists() {
        return Ok(());
    }
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=xtask", "-c", "user.email=xtask@localhost", "-c", "commit.gpgsign=false"];
        // Nobody's own settings or hooks belong in a copy.
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
        output(command.current_dir(copy).args(who).args(arguments)).map(|_| ())
    };
    git(&["init", "--quiet"])?;
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message", "advisories"])
}

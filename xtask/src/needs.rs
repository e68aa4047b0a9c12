//! What the tests need beside Rust: found, installed where that is allowed, or
//! named with how to install it. Never skipped in silence.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::shell::{Done, cargo, is_root, on_path, output, run, works};

/// Where what is needed was found.
pub struct Found {
    /// The folder of PostgreSQL's programs.
    pub postgres: PathBuf,
    /// A Python that has aiosmtpd.
    pub python: PathBuf,
}

/// The oldest PostgreSQL that is tested.
const POSTGRES: u32 = 15;

/// Finds everything. On Debian and its like what is missing is installed when
/// that needs no password.
pub fn all() -> Done<Found> {
    if let Ok(found) = find() {
        return Ok(found);
    }
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| (need.missing)()).collect();
    if let Some(sudo) = may_install() {
        let packages: Vec<_> = missing.iter().flat_map(|need| need.debian.split(' ')).collect();
        eprintln!("missing: {}; installing with apt-get: {}", names(&missing), packages.join(" "));
        install(sudo, &packages)?;
    }
    find().map_err(|still| format!("{still}{}", how(&missing)))
}

/// Installs the programs that are not on the path, each by its package of
/// Debian, where that is allowed. Whoever needs one says what it is for.
pub fn programs(wanted: &[(&str, &'static str)]) -> Done {
    let mut packages: Vec<_> = wanted
        .iter()
        .filter(|(program, _)| on_path(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    match may_install() {
        Some(sudo) if !packages.is_empty() => {
            eprintln!("installing with apt-get: {}", packages.join(" "));
            install(sudo, &packages)
        }
        _ => Ok(()),
    }
}

/// A program of cargo's, such as cargo-deny, installed if it is not there.
pub fn cargo_program(name: &str) -> Done<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let installed = home.map(|home| home.join("bin").join(name));
    let there = || on_path(name).or(installed.clone().filter(|file| file.is_file()));
    if there().is_none() {
        eprintln!("{name} is not there: `cargo install {name} --locked` takes a few minutes");
        run(cargo().args(["install", name, "--locked", "--quiet"]))?;
    }
    there().ok_or_else(|| format!("{name} was installed, but is not found on the path"))
}

struct Need {
    name: &'static str,
    /// The package of Debian and Ubuntu.
    debian: &'static str,
    /// How to get it elsewhere.
    elsewhere: &'static str,
    missing: fn() -> bool,
}

const NEEDS: [Need; 8] = [
    Need {
        name: "PostgreSQL 15 or newer",
        debian: "postgresql",
        elsewhere: "Fedora: dnf install postgresql-server; macOS: brew install postgresql@17; or set PGBIN to its folder of programs",
        missing: || postgres().is_none(),
    },
    Need {
        name: "psql",
        debian: "postgresql-client",
        elsewhere: "it comes with PostgreSQL",
        missing: || on_path("psql").is_none(),
    },
    Need {
        name: "Python with aiosmtpd",
        debian: "python3-aiosmtpd",
        elsewhere: "python3 -m pip install aiosmtpd",
        missing: || python().is_none(),
    },
    Need {
        name: "Redis",
        debian: "redis-server",
        elsewhere: "Fedora: dnf install redis; macOS: brew install redis",
        missing: || on_path("redis-server").is_none() || on_path("redis-cli").is_none(),
    },
    Need {
        name: "Redis Sentinel",
        debian: "redis-sentinel",
        elsewhere: "it comes with Redis",
        missing: || on_path("redis-sentinel").is_none(),
    },
    Need {
        name: "nginx",
        debian: "nginx-light",
        elsewhere: "Fedora: dnf install nginx; macOS: brew install nginx",
        missing: || on_path("nginx").is_none(),
    },
    Need {
        name: "pgbouncer",
        debian: "pgbouncer",
        elsewhere: "Fedora: dnf install pgbouncer; macOS: brew install pgbouncer",
        missing: || on_path("pgbouncer").is_none(),
    },
    Need {
        name: "Node.js with npm",
        debian: "nodejs npm",
        elsewhere: "https://nodejs.org, 20 or newer; macOS: brew install node",
        missing: || on_path("node").is_none() || on_path("npm").is_none(),
    },
];

fn find() -> Done<Found> {
    let missing: Vec<_> = NEEDS.iter().filter(|need| (need.missing)()).collect();
    match (postgres(), python()) {
        (Some(postgres), Some(python)) if missing.is_empty() => Ok(Found { postgres, python }),
        _ => Err(format!("missing: {}", names(&missing))),
    }
}

fn names(needs: &[&Need]) -> String {
    needs.iter().map(|need| need.name).collect::<Vec<_>>().join(", ")
}

fn how(missing: &[&Need]) -> String {
    let packages: Vec<_> = missing.iter().map(|need| need.debian).collect();
    let mut text = format!("\n  Debian, Ubuntu: sudo apt-get install {}", packages.join(" "));
    for need in missing {
        text.push_str(&format!("\n  {}: {}", need.name, need.elsewhere));
    }
    text
}

/// The programs of the newest PostgreSQL that is new enough.
fn postgres() -> Option<PathBuf> {
    let named = env::var_os("PGBIN").map(PathBuf::from);
    let on_path = on_path("postgres").and_then(|file| file.parent().map(Path::to_owned));
    let debian = versions(Path::new("/usr/lib/postgresql"), "bin");
    let brew = ["/opt/homebrew/opt", "/usr/local/opt"]
        .into_iter()
        .flat_map(|folder| versions(Path::new(folder), "bin"));
    let folders = named.into_iter().chain(debian).chain(on_path).chain(brew);
    folders
        .filter_map(|folder| Some((version(&folder)?, folder)))
        .filter(|(version, folder)| *version >= POSTGRES && folder.join("initdb").is_file())
        // Of two equally new the earlier one: that which was named.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, folder)| folder)
}

fn versions(folder: &Path, programs: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path().join(programs))
        .filter(|folder| folder.join("postgres").is_file())
        .collect()
}

/// `postgres (PostgreSQL) 15.14 (Debian …)` is 15.
fn version(folder: &Path) -> Option<u32> {
    let said = output(Command::new(folder.join("postgres")).arg("--version")).ok()?;
    let number = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The system's own Python first: servers run as another user, who may not
/// enter the home folder that a private Python lies in.
fn python() -> Option<PathBuf> {
    let candidates = [Some(PathBuf::from("/usr/bin/python3")), on_path("python3")];
    candidates
        .into_iter()
        .flatten()
        .find(|python| works(Command::new(python).args(["-c", "import aiosmtpd"])))
}

/// Whether packages can be installed without asking anybody, and whether that
/// takes sudo.
fn may_install() -> Option<bool> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = release.lines().any(|line| {
        let like = line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE="));
        like.is_some_and(|like| like.contains("debian") || like.contains("ubuntu"))
    });
    on_path("apt-get").filter(|_| debian)?;
    if is_root() {
        return Some(false);
    }
    works(Command::new("sudo").args(["-n", "true"])).then_some(true)
}

fn install(sudo: bool, packages: &[&str]) -> Done {
    let apt = |arguments: &[&str]| {
        let mut command = if sudo {
            let mut command = Command::new("sudo");
            command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            command
        } else {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command
        };
        run(command.args(["-qq", "-o", "Dpkg::Use-Pty=0"]).args(arguments))
    };
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    // The lists of packages are often absent in a fresh container.
    apt(&["update"]).and_then(|()| apt(&arguments))
}

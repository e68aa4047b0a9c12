//! `cargo xtask deploy`: the image, the fleet of `compose.yaml` and the
//! manifests of Kubernetes, tried for real. The work is done by the scripts in
//! `deploy/test`, which a person can run as well.

use std::process::Command;

use crate::{
    needs,
    shell::{Done, is_root, root, target},
    stages::{Stages, Tried},
};

pub const MANIFESTS: &str = "manifests";
pub const CONTAINERS: &str = "containers";

/// What the scripts need and Debian has: the program, and the package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("docker", "docker.io"),
    ("docker-compose", "docker-compose"),
    ("dockerd", "docker.io"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
    ("pgrep", "procps"),
];

/// How a script says that it cannot be done here, after it has said why.
const CANNOT: i32 = 77;

/// Both, and nothing else.
pub fn deploy() -> Done {
    let mut stages = Stages::default();
    stages_of(&mut stages);
    println!("\n{}", stages.table().trim_end());
    stages.verdict()
}

/// Adds both to the stages of a run.
pub fn stages_of(stages: &mut Stages) {
    // An engine needs root: without it, a desktop gets no packages that it has no use for.
    let ready = if is_root() { needs::programs(PROGRAMS) } else { Ok(()) };
    if let Err(message) = ready {
        eprintln!("{message}");
    }
    stages.attempt(MANIFESTS, || script("manifests.sh"));
    stages.attempt(CONTAINERS, || script("containers.sh"));
}

fn script(name: &str) -> Done<Tried> {
    let mut command = Command::new("bash");
    command.current_dir(root()).arg(root().join("deploy/test").join(name)).arg(target()?.join("deploy"));
    let status = command.status().map_err(|error| format!("bash cannot be started: {error}"))?;
    match status.code() {
        Some(0) => Ok(Tried::Done),
        Some(CANNOT) => Ok(Tried::LeftOut),
        _ => Err(format!("{name} ended with {status}")),
    }
}

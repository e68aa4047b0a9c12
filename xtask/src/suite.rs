//! `test` and `check`: which stages there are and how they end.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    deploy,
    needs::{self, Found},
    postgres::{self, Server},
    shell::{Done, cargo},
    stages::Stages,
    steps::{
        self, BUILD, DISTRIBUTION, FLOORS, FORMATTING, FUZZING, LICENCES, LINTS, PAGES, SIMULATION, SQL, step,
    },
};

const SERVERS: &str = "servers";

/// How long simulating may go on when the tests are over: on few processors they leave too little for all seeds.
const AFTER_THE_TESTS: Duration = Duration::from_secs(300);

/// What names a pgbouncer newer than Debian 12's …
const PGBOUNCER: &str = "CARMEL_TEST_PGBOUNCER";
/// … and the one test that needs it.
const NEEDS_PGBOUNCER: &str = "prepared_statements_work_where_the_pooler_knows_them";

/// Everything: the checks, quick ones first, and every test. Its last line is
/// `N passed, N failed`.
pub fn test(full: bool, filter: Option<&str>) -> Done {
    let mut stages = Stages::default();
    let server = stages.run(SERVERS, start);
    let built = if filter.is_some() {
        eprintln!("the checks are left out because of the filter");
        server.is_some()
    } else {
        checks(&mut stages, full, server.as_ref())
    };
    let mut counts = Counts::default();
    match &server {
        Some(server) if built => {
            // The tests wait most of their time: for servers, for timers, for each other.
            let simulating = filter.is_none().then(steps::begin_to_simulate);
            stages.run("tests", || tests(full, filter, server, &mut counts));
            if let Some(simulating) = simulating {
                stages.run("simulation, after the tests", || simulating?.end(AFTER_THE_TESTS));
            }
        }
        _ => stages.not_run("tests"),
    }
    if full && filter.is_none() {
        stages.run(SIMULATION, || step(SIMULATION, None));
        stages.run(FUZZING, || step(FUZZING, None));
        deploy::stages_of(&mut stages);
    }
    // Before the last line, so that nothing it says comes after.
    drop(server);
    println!("\n{}", stages.table().trim_end());
    for name in &counts.names {
        println!("failed: {name}");
    }
    if counts.ignored > 0 {
        println!("{} tests are ignored", counts.ignored);
    }
    if !full {
        println!("--full goes further in those that take long");
    }
    let verdict = stages.verdict();
    if let Err(message) = &verdict {
        println!("{message}");
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    // Said above: nothing may follow the last line.
    if verdict.is_err() { std::process::exit(1) } else { Ok(()) }
}

/// Every check and no test.
pub fn check() -> Done {
    let mut stages = Stages::default();
    let server = stages.run(SERVERS, start);
    checks(&mut stages, true, server.as_ref());
    drop(server);
    println!("\n{}", stages.table().trim_end());
    stages.verdict()
}

/// Some of the checks.
pub fn only(names: &[&'static str]) -> Done {
    let mut stages = Stages::default();
    let server = if names.contains(&SQL) { stages.run(SERVERS, start) } else { None };
    let builds = names.iter().any(|name| [PAGES, SQL].contains(name));
    let built = !builds || stages.run(BUILD, steps::build).is_some();
    for name in names {
        match *name {
            PAGES if !built => stages.not_run(name),
            SQL if !built || server.is_none() => stages.not_run(name),
            _ => {
                stages.run(name, || step(name, server.as_ref()));
            }
        }
    }
    stages.verdict()
}

/// Runs the checks; returns whether everything was built.
fn checks(stages: &mut Stages, full: bool, server: Option<&Server>) -> bool {
    stages.run(FORMATTING, || step(FORMATTING, server));
    stages.run(FLOORS, || step(FLOORS, server));
    stages.run(DISTRIBUTION, || step(DISTRIBUTION, server));
    let built = stages.run(BUILD, steps::build).is_some();
    for name in [PAGES, SQL] {
        if built && (server.is_some() || name != SQL) {
            stages.run(name, || step(name, server));
        } else {
            stages.not_run(name);
        }
    }
    stages.run(LINTS, || step(LINTS, server));
    if full {
        stages.run(LICENCES, || step(LICENCES, server));
    }
    built
}

/// Finds what the tests need, installs it where it may, and starts the one
/// PostgreSQL that they share.
fn start() -> Done<Server> {
    let Found { postgres, python } = needs::all()?;
    eprintln!("Python with aiosmtpd is {}", python.display());
    if let Ok(url) = env::var(postgres::VARIABLE) {
        eprintln!("PostgreSQL is the one that {} names", postgres::VARIABLE);
        return Ok(Server::elsewhere(url));
    }
    Server::start(&postgres)
}

/// What the test runner counted.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
    names: Vec<String>,
}

impl Counts {
    /// Reads one line of the test runner.
    fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.names.push(name.to_owned());
        }
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split(';') {
            let Some((count, what)) = part.trim().split_once(' ') else {
                continue;
            };
            let count = count.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

fn tests(full: bool, filter: Option<&str>, server: &Server, counts: &mut Counts) -> Done {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).args(filter);
    server.tell(command.stdout(Stdio::piped()));
    if full {
        command.args(["--", "--include-ignored"]);
        if env::var_os(PGBOUNCER).is_none() {
            eprintln!("{NEEDS_PGBOUNCER} is left out: {PGBOUNCER} names no pgbouncer 1.21 or newer");
            command.args(["--skip", NEEDS_PGBOUNCER]);
        }
        // Tests that take long go further when they see this: to every step, not every eleventh.
        command.env("CARMEL_TEST_FULL", "1");
    }
    run_and_count(&mut command, counts)
}

fn run_and_count(command: &mut Command, counts: &mut Counts) -> Done {
    let mut child = command.spawn().map_err(|error| format!("cargo cannot be started: {error}"))?;
    let lines = child.stdout.take().map(BufReader::new).expect("its output was asked for");
    for line in lines.split(b'\n') {
        let line = line.map_err(|error| format!("the tests cannot be heard: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.read(&line);
    }
    let status = child.wait().map_err(|error| format!("the tests cannot be waited for: {error}"))?;
    if !status.success() && counts.failed == 0 {
        // A test program that crashed has no closing line to count.
        counts.failed = 1;
    }
    if status.success() { Ok(()) } else { Err(format!("cargo test ended with {status}")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_closing_lines_of_all_test_programs_are_summed_up() {
        let mut counts = Counts::default();
        let said = "\
running 2 tests
test a::b ... ok
test a::c ... FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out; finished in 0.02s
";
        said.lines().for_each(|line| counts.read(line));

        assert_eq!((counts.passed, counts.failed, counts.ignored), (13, 1, 3));
        assert_eq!(counts.names, ["a::c"]);
    }

    #[test]
    fn a_test_program_that_crashes_counts_as_a_failure() {
        let mut counts = Counts::default();
        let mut command = Command::new("sh");
        command.args(["-c", "echo running 1 test; kill -SEGV $$"]).stdout(Stdio::piped());

        let done = run_and_count(&mut command, &mut counts);

        assert!(done.is_err());
        assert_eq!((counts.passed, counts.failed), (0, 1));
    }
}

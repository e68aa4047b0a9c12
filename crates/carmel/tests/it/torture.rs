//! `carmel torture`, in short: a shop is hurt while people use it, and nothing
//! is lost, doubled or oversold. Long runs stand in docs/reliability.md.

use serde_json::Value;

use crate::process::{run, said};

#[test]
fn a_shop_in_one_process_is_tortured_and_loses_nothing() {
    let report = torture(&["--seconds", "5", "--seed", "1"]);
    assert!(faults(&report) >= 5, "{report:#}");
}

#[test]
fn a_fleet_is_tortured_and_loses_nothing() {
    let report = torture(&["--fleet", "--seconds", "6", "--seed", "1", "--buyers", "4"]);
    assert!(faults(&report) >= 6, "{report:#}");
}

/// A run without a breach; its report.
fn torture(arguments: &[&str]) -> Value {
    let path = std::env::var("PATH").unwrap();
    let run = run(&[&["torture", "--json"], arguments].concat(), &[("PATH", &path)], "");
    let said = said(&run);
    let line = said.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{said}"));
    let report: Value = serde_json::from_str(line).unwrap();
    assert_eq!(run.status.code(), Some(0), "{report:#}");
    assert!(report["requests"]["buy"]["done"].as_u64().unwrap() > 0, "{report:#}");
    report
}

fn faults(report: &Value) -> u64 {
    report["faults"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("orders.db"), "a shop").unwrap();
    let (place, path) = (folder.path().to_str().unwrap(), std::env::var("PATH").unwrap());

    let stopped = run(&["torture", "--folder", place], &[("PATH", &path)], "");

    assert_eq!(stopped.status.code(), Some(2));
    assert!(said(&stopped).contains("is not empty"), "{}", said(&stopped));
    assert_eq!(std::fs::read(folder.path().join("orders.db")).unwrap(), b"a shop");
}

#[test]
fn a_fleet_without_its_servers_says_what_to_install() {
    // Without a path there is no Redis; where PostgreSQL is installed it is found all the same.
    let stopped = run(&["torture", "--fleet"], &[("PATH", "/nowhere")], "");

    assert_eq!(stopped.status.code(), Some(2));
    let said = said(&stopped);
    assert!(said.contains("not installed") && said.contains("redis-server (package redis-server)"), "{said}");
}

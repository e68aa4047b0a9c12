//! `carmel bench`: a small one of each kind.

use std::process::Command;

use serde_json::Value;
use testkit::postgres::Server;

use crate::process::PROGRAM;

fn bench(arguments: &[&str]) -> (bool, String, String) {
    let done = Command::new(PROGRAM).arg("bench").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.success(), text(&done.stdout), text(&done.stderr))
}

const SMALL: [&str; 10] =
    ["--seconds", "1", "--customers", "30", "--products", "10", "--pieces", "12", "--connections", "4"];

#[test]
fn every_scenario_is_measured_and_exactly_what_there_is_is_sold() {
    let (done, said, log) = bench(&[&SMALL[..], &["--json"]].concat());

    assert!(done, "{said}{log}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let measured = report["measured"].as_array().unwrap();
    let names: Vec<_> = measured.iter().map(|one| one["scenario"].as_str().unwrap()).collect();
    let all = ["browse", "cold-read", "cached-read", "sign-up", "buy", "flash-sale", "queue", "mixed"];
    assert_eq!(names, all);
    for one in measured {
        let figure = |name: &str| one[name].as_f64().unwrap();
        assert!(figure("per_second") > 0.0 && figure("cost_us") > 0.0 && figure("memory_mb") > 1.0, "{one}");
        let wait = |name: &str| one["wait_ms"][name].as_f64().unwrap();
        assert!(wait("p50") > 0.0 && wait("p50") <= wait("p99") && wait("p99") <= wait("p999"), "{one}");
        assert_eq!(one["failures"], serde_json::json!({}), "{one}");
    }
    assert!(measured[4]["settled_per_second"].as_f64().unwrap() > 0.0);
    // What is remembered asks no database; an order does, here without a server between.
    let asked = |at: usize, what: &str| measured[at]["asked"][what].as_f64().unwrap();
    assert!(asked(2, "statements") < 1.0, "{}", measured[2]);
    assert!(asked(4, "statements") > 20.0 && asked(4, "commits") > 0.0, "{}", measured[4]);
    assert_eq!(asked(4, "round_trips"), 0.0, "{}", measured[4]);
    let sale = &measured[5]["sale"];
    assert_eq!(
        (&sale["wanted"], &sale["sold"], &sale["still_held"]),
        (&30.into(), &12.into(), &0.into()),
        "{sale}"
    );
    assert_eq!(report["breaches"], serde_json::json!([]));
}

#[test]
fn an_open_loop_asks_as_often_as_it_is_told() {
    let (done, said, log) =
        bench(&[&SMALL[..], &["--json", "--only", "cached-read,browse", "--rate", "40"]].concat());

    assert!(done, "{said}{log}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let measured = report["measured"].as_array().unwrap();
    assert_eq!(measured.len(), 2);
    assert!(measured.iter().all(|one| one["answers"] == 40), "{said}");
}

#[test]
fn a_shop_in_postgres_is_measured_in_an_empty_database_and_in_no_other() {
    let server = Server::shared();
    let url = server.database();
    let on_it = [&SMALL[..], &["--json", "--only", "buy,flash-sale", "--postgres", &url]].concat();

    let (done, said, log) = bench(&on_it);
    let (again, _, refused) = bench(&on_it);

    assert!(done, "{said}{log}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["database"], &report["breaches"]), (&"PostgreSQL".into(), &serde_json::json!([])));
    let asked = |what: &str| report["measured"][0]["asked"][what].as_f64().unwrap();
    assert!(asked("round_trips") > 1.0 && asked("commits") > 0.0, "{said}");
    assert!(!again && refused.contains("there is something in that database already"), "{refused}");
}

#[test]
fn a_fleet_is_measured_process_by_process_and_its_queue_through_redis() {
    let server = Server::shared();
    let url = server.database();
    let wanted = ["--json", "--fleet", "--only", "cold-read,buy,queue", "--postgres", &url];
    let (done, said, log) = bench(&[&SMALL[..], &wanted].concat());

    assert!(done, "{said}{log}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["fleet"], &report["redis"]), (&true.into(), &true.into()));
    assert_eq!(report["breaches"], serde_json::json!([]));
    let [cold, buy, queue] = &report["measured"].as_array().unwrap()[..] else { panic!("{said}") };
    let names = |one: &Value| -> Vec<String> {
        let processes = one["processes"].as_array().unwrap();
        processes.iter().map(|process| process["name"].as_str().unwrap().to_owned()).collect()
    };
    let fleet = ["carmel", "catalog", "gateway", "inventory", "notifications", "orders", "payments", "users"];
    assert_eq!(
        (names(cold), names(buy), names(queue)),
        (fleet.map(String::from).into(), fleet.map(String::from).into(), vec!["bench".to_owned()])
    );
    // Every customer was read from the database of a fleet that has just started.
    assert_eq!(cold["answers"], 30, "{cold}");
    assert!(buy["settled_per_second"].as_f64().unwrap() > 0.0, "{buy}");
    for one in [buy, queue] {
        assert!(one["asked"]["round_trips"].as_f64().unwrap() > 0.0, "{one}");
        assert!(
            one["processes"]
                .as_array()
                .unwrap()
                .iter()
                .all(|process| process["memory_mb"].as_f64().unwrap() > 1.0),
            "{one}"
        );
    }
}

#[test]
fn the_most_that_is_borne_is_looked_for_and_all_that_was_tried_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html").display().to_string();
    let wanted = ["--json", "--only", "cached-read", "--capacity", "--within-ms", "1000", "--page", &page];
    let (done, said, log) = bench(&[&SMALL[..], &wanted].concat());

    assert!(done, "{said}{log}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let most = &report["capacity"][0];
    let tried = most["tried"].as_array().unwrap();
    let borne = tried.iter().filter(|one| one["borne"] == true).map(|one| one["rate"].as_f64().unwrap());
    assert_eq!((tried.len(), &most["scenario"]), (6, &"cached-read".into()));
    assert_eq!(most["per_second"].as_f64().unwrap(), borne.fold(0.0, f64::max), "{most}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<td>cached-read<td>"), "{page}");
    assert_eq!(page.matches("<circle").count(), 6, "one for each rate that was tried: {page}");
}

#[test]
fn how_it_grows_is_measured_and_what_the_machine_bears_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html").display().to_string();
    let (done, said, log) =
        bench(&[&SMALL[..], &["--only", "browse", "--scaling", "--capacity", "--page", &page]].concat());

    assert!(done, "{said}{log}");
    assert!(said.contains("browse a second by connections: 1 "), "{said}");
    assert!(said.contains("browse a second by cores: 1 "), "{said}");
    assert!(said.contains("looks at the catalogue a second at a p99 of"), "{said}");
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<svg").count(), 3, "{page}");
}

#[test]
fn what_it_cannot_do_is_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("something"), "").unwrap();
    let there = folder.path().display().to_string();

    let (done, _, full) = bench(&[&SMALL[..], &["--folder", &there]].concat());
    let (other, _, unknown) = bench(&["--only", "bye"]);

    let (moved, _, elsewhere) = bench(&["--set", "database.url=postgres://shop"]);
    let (written, _, nowhere) = bench(&[&SMALL[..], &["--page", "/nowhere/page.html"]].concat());
    assert!(!written && nowhere.contains("--page /nowhere/page.html cannot be written"), "{nowhere}");
    assert!(!nowhere.contains("a shop in"), "said before anything is begun: {nowhere}");
    assert!(!done && full.contains("is not empty"), "{full}");
    assert!(
        !moved && elsewhere.contains("--set database.url: what is measured is a shop of its own;"),
        "{elsewhere}"
    );
    assert!(!other && unknown.contains("flash-sale"), "the names that there are: {unknown}");
}

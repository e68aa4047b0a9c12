//! Every stored input keeps every promise.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use crate::{
    http::{Who, alone},
    mutant::mutant,
};

fn each_of(target: &str, takes: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no inputs");
    let breaks =
        |file: &PathBuf| panic::catch_unwind(AssertUnwindSafe(|| takes(&fs::read(file).unwrap()))).is_err();
    let found: Vec<_> = files.iter().filter(|file| breaks(file)).collect();
    assert!(found.is_empty(), "these broke a promise, as said above: {found:#?}");
}

#[test]
fn every_stored_request_is_answered_as_the_api_promises() {
    each_of("http", |input| alone(input, Who::Strangers));
}

/// Without a fuzzer's eyes, and so only a few; `cargo xtask fuzz` goes on.
#[test]
fn what_is_like_a_stored_request_is_answered_as_the_api_promises() {
    let more = std::env::var("CARMEL_TEST_MUTANTS").map_or(2, |more| more.parse().unwrap());
    for seed in 0..more {
        each_of("http", |input| {
            let changed = (0..3).fold(input.to_vec(), |text, turn| mutant(&text, seed * 3 + turn));
            crate::http(&changed);
        });
    }
}

#[test]
fn every_stored_call_between_services_is_answered_or_refused() {
    each_of("rpc", |input| alone(input, Who::Services));
}

#[test]
fn every_stored_cursor_is_one_or_refused() {
    each_of("cursor", crate::cursor);
}

#[test]
fn every_stored_token_is_taken_only_from_who_signs() {
    each_of("token", crate::token);
}

#[test]
fn every_stored_webhook_is_taken_only_from_who_signs() {
    each_of("webhook", crate::webhook);
}

#[test]
fn every_stored_setting_is_right_or_named() {
    each_of("settings", crate::settings);
}

#[test]
fn every_stored_answer_of_a_peer_is_understood_or_an_error() {
    each_of("answer", crate::answer);
}

#[test]
fn every_stored_event_is_heard_or_refused() {
    each_of("event", crate::event);
}

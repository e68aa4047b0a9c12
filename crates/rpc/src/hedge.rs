//! How long to wait before a second try is started beside the first.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long each call took lately: "The Tail at Scale" (Dean and Barroso,
/// 2013) sends the second request when the first takes longer than 95 % do.
#[derive(Default)]
pub struct Latencies(Mutex<HashMap<&'static str, Recent>>);

struct Recent {
    micros: Vec<u32>,
    next: usize,
}

/// How many of a call are remembered, and how many have to be known to judge.
const REMEMBERED: usize = 128;
const ENOUGH: usize = 20;

impl Latencies {
    /// A call took that long.
    pub fn record(&self, call: &'static str, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = calls.entry(call).or_insert_with(|| Recent { micros: Vec::new(), next: 0 });
        match recent.micros.len() {
            REMEMBERED => recent.micros[recent.next] = micros,
            _ => recent.micros.push(micros),
        }
        recent.next = (recent.next + 1) % REMEMBERED;
    }

    /// What 95 of a hundred took at most; nothing while too little is known.
    pub fn p95(&self, call: &'static str) -> Option<Duration> {
        let mut micros = {
            let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            calls.get(call).filter(|recent| recent.micros.len() >= ENOUGH)?.micros.clone()
        };
        let rank = micros.len() * 95 / 100;
        let (_, &mut p95, _) = micros.select_nth_unstable(rank);
        Some(Duration::from_micros(p95.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_of_a_hundred_is_known_once_there_are_enough() {
        let latencies = Latencies::default();
        let record = |millis| latencies.record("prices", Duration::from_millis(millis));

        (1..20).for_each(record);
        assert_eq!(latencies.p95("prices"), None);

        (1..=128).for_each(record); // the newest 128 are 1 to 128
        assert_eq!(latencies.p95("prices"), Some(Duration::from_millis(122)));
        assert_eq!(latencies.p95("levels"), None);
    }
}

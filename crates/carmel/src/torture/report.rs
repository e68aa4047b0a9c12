//! What a run says in the end.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::client::Counts;

/// What was done to a shop, and what it did.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Plans the same faults again.
    pub seed: u64,
    /// `embedded` or `fleet`.
    pub shop: &'static str,
    /// How long it was hurt.
    pub seconds: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Cards that made the provider misbehave.
    pub provider: BTreeMap<&'static str, u64>,
    /// Requests by kind.
    pub requests: BTreeMap<&'static str, Counts>,
    /// Unknown outcomes, by how they were resolved.
    pub unknown_outcomes: BTreeMap<&'static str, u64>,
    /// Orders by where they ended.
    pub orders: BTreeMap<String, u64>,
    /// How long it took until all was well again.
    pub recovery: Recovery,
    /// Processes that ended without having been told to, each with how it did, and how often.
    pub ended_by_themselves: BTreeMap<String, u64>,
    /// How often a process of the program was started, and of these as the other version.
    pub starts: (u64, u64),
    /// What must not be, with its ids.
    pub breaches: Vec<String>,
}

/// How long it took until all was well again, in milliseconds.
#[derive(Debug, Default, Serialize)]
pub struct Recovery {
    /// From the end of a fault until a change was done that was asked for
    /// after it: half of the faults took no longer.
    pub median_ms: u64,
    /// The longest of them.
    pub max_ms: u64,
    /// From the end of the last fault until the shop was ready.
    pub ready_ms: u64,
    /// From there until every order had ended.
    pub settled_ms: u64,
}

impl Recovery {
    /// The figures of these spans.
    pub fn new(mut after_faults: Vec<Duration>, ready: Duration, settled: Duration) -> Recovery {
        after_faults.sort();
        let ms = |span: Option<&Duration>| span.map_or(0, |span| span.as_millis() as u64);
        Recovery {
            median_ms: ms(after_faults.get(after_faults.len() / 2)),
            max_ms: ms(after_faults.last()),
            ready_ms: ms(Some(&ready)),
            settled_ms: ms(Some(&settled)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} · {} shop · {} s", self.seed, self.shop, self.seconds)?;
        let count = self.faults.values().sum::<u64>();
        writeln!(f, "\nfaults {count}")?;
        for (kind, count) in self.faults.iter().chain(&self.provider) {
            writeln!(f, "  {kind:<28} {count:>7}")?;
        }
        writeln!(f, "\nrequests {:>29} {:>8} {:>8}", "done", "refused", "unknown")?;
        for (kind, Counts { done, refused, unknown }) in &self.requests {
            writeln!(f, "  {kind:<28} {done:>7} {refused:>8} {unknown:>8}")?;
        }
        writeln!(f, "\nunknown outcomes of changes, asked for again under their key")?;
        for (how, count) in &self.unknown_outcomes {
            writeln!(f, "  {how:<28} {count:>7}")?;
        }
        writeln!(f, "\norders")?;
        for (state, count) in &self.orders {
            writeln!(f, "  {state:<28} {count:>7}")?;
        }
        let Recovery { median_ms, max_ms, ready_ms, settled_ms } = self.recovery;
        writeln!(f, "\nrecovery")?;
        writeln!(f, "  next change after a fault    {median_ms:>7} ms median, {max_ms} ms at most")?;
        writeln!(f, "  ready after the last fault   {ready_ms:>7} ms")?;
        writeln!(f, "  every order ended after      {settled_ms:>7} ms more")?;
        let (starts, others) = self.starts;
        writeln!(f, "  processes started            {starts:>7}, {others} of them as the other version")?;
        for (name, times) in &self.ended_by_themselves {
            writeln!(f, "  {name} ended by itself {times} times and was started again")?;
        }
        writeln!(f)?;
        for breach in &self.breaches {
            writeln!(f, "BREACH {breach}")?;
        }
        write!(f, "{} breaches", self.breaches.len())
    }
}

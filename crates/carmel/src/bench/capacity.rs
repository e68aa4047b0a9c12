//! The most that a shop bears while people still do not wait: looked for by
//! halves, in an open loop, since people come whether or not others are served.

use kernel::Result;
use load::Load;
use serde::Serialize;

use super::{
    Options,
    crowd::Crowd,
    report::Measured,
    scenario::{Scenario, load_of},
    stage::Stage,
};

/// What is looked for: orders, and those who read.
pub const OF: [Scenario; 3] = [Scenario::Buy, Scenario::CachedRead, Scenario::Browse];
/// How often the distance is halved: to a thirtieth of it.
const HALVES: usize = 5;
/// Of what is asked so much is answered within the time, and so many of the orders have ended soon after.
const ANSWERED: f64 = 0.95;
const ENDED: f64 = 0.85;

/// The most of a scenario.
#[derive(Debug, Serialize)]
pub struct Capacity {
    pub scenario: String,
    /// So many a second are borne; nothing when not even the least that was tried is.
    pub per_second: f64,
    /// Within this time 99 in a hundred were answered then, in milliseconds.
    pub p99_ms: f64,
    /// All that was tried, in this order.
    pub tried: Vec<Tried>,
}

/// A rate that was tried.
#[derive(Debug, Serialize)]
pub struct Tried {
    pub rate: f64,
    pub answered_per_second: f64,
    pub settled_per_second: Option<f64>,
    pub p99_ms: f64,
    pub borne: bool,
}

/// Looks for the most at which 99 in a hundred are answered within the time
/// that was wanted, none fails, and orders end as fast as they are placed.
pub async fn find(scenario: Scenario, stage: &Stage, crowd: &Crowd, options: &Options) -> Result<Capacity> {
    let closed = Load { per_second: None, ..load_of(stage, options) };
    let fastest = scenario.run(stage, crowd, closed, options.pieces).await?;
    let mut rate = fastest.settled_per_second.unwrap_or(fastest.per_second).max(1.0);
    let (mut low, mut high) = (0.0, 2.0 * rate);
    let mut found =
        Capacity { scenario: scenario.to_string(), per_second: 0.0, p99_ms: 0.0, tried: Vec::new() };
    for _ in 0..=HALVES {
        let load = Load { per_second: Some(rate), ..closed };
        let measured = scenario.run(stage, crowd, load, options.pieces).await?;
        let borne = is_borne(&measured, rate, options.within_ms as f64);
        if borne {
            (low, found.per_second, found.p99_ms) = (rate, rate, measured.wait_ms.p99);
        } else {
            high = rate;
        }
        found.tried.push(Tried {
            rate,
            answered_per_second: measured.per_second,
            settled_per_second: measured.settled_per_second,
            p99_ms: measured.wait_ms.p99,
            borne,
        });
        rate = f64::midpoint(low, high);
    }
    Ok(found)
}

fn is_borne(measured: &Measured, rate: f64, within_ms: f64) -> bool {
    measured.failures.is_empty()
        && measured.wait_ms.p99 <= within_ms
        && measured.per_second >= ANSWERED * rate
        && measured.settled_per_second.is_none_or(|settled| settled >= ENDED * rate)
}

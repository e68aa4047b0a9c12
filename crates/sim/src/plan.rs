//! What is to happen in a simulation: who comes when, and what breaks when.

use std::time::Duration;

use crate::{
    chance::Chance,
    network::Weather,
    shelf::{BUYERS, SHELF, STAFF},
};

/// Everything that a seed decides beforehand. What it decides on the way (each
/// delay, each lost message) is drawn from the same seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many processes serve the shop.
    pub processes: usize,
    /// Whether their services ask one another over the network.
    pub apart: bool,
    /// Once in so many polls a task is delayed.
    pub delays: u64,
    /// How the network is when there is no storm.
    pub weather: Weather,
    /// Who comes.
    pub visits: Vec<Visit>,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// What the shop does wrong on purpose.
    pub planted: Option<&'static str>,
}

/// Somebody comes and does something.
#[derive(Clone, Debug)]
pub struct Visit {
    /// When.
    pub at: Duration,
    /// The number of who comes: of the buyers, or of the staff.
    pub who: usize,
    /// What for.
    pub what: Act,
}

/// What people do. Orders are named by the number that their purchase has.
#[derive(Clone, Debug)]
pub enum Act {
    /// Buys some of one thing or two; at once as often, under one key.
    Buy { order: usize, lines: Vec<(usize, u32)>, card: &'static str, at_once: usize },
    /// Looks at all that was ordered.
    Look,
    /// Changes one's mind.
    Cancel { order: usize },
    /// Staff give the money back, each under a key of his own.
    Refund { order: usize, at_once: usize },
    /// Staff send it off.
    Ship { order: usize },
    /// Staff decide about an order in review.
    Review { order: usize, approve: bool },
    /// Staff take more into stock.
    Receive { thing: usize, count: i64 },
    /// Staff change a price.
    Price { thing: usize, cents: i64 },
}

/// Something breaks.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub at: Duration,
    /// What.
    pub what: What,
    /// For how long.
    pub span: Duration,
}

/// What breaks.
#[derive(Clone, Debug)]
pub enum What {
    /// A process dies when it has made so many changes more, and is started again after the span.
    Kill { process: usize, steps: u64 },
    /// A process stands still.
    Freeze { process: usize },
    /// There is no room left on the disk of a process.
    Full { process: usize },
    /// The disk of a process refuses once in so many steps.
    Refuse { process: usize, once_in: u64 },
    /// The network is bad.
    Storm(Weather),
    /// The clock of a process is set, by so many seconds.
    Step { process: usize, seconds: i64 },
}

/// The cards that people have, the good one more often.
const CARDS: [&str; 12] = [
    "tok_success",
    "tok_success",
    "tok_success",
    "tok_declined",
    "tok_timeout",
    "tok_timeout",
    "tok_slow",
    "tok_review",
    "tok_capture_refused",
    "tok_webhook_twice",
    "tok_webhook_early",
    "tok_webhook_late",
];

impl Plan {
    /// What this seed wants.
    pub fn of(seed: u64, planted: Option<&'static str>) -> Plan {
        let mut chance = Chance::new(seed);
        let chance = &mut chance;
        let processes = *chance.one_of(&[1, 2, 2, 3]);
        let apart = chance.once_in(2);
        let delays = *chance.one_of(&[0, 10, 30, 100, 300]);
        let weather = match chance.below(3) {
            0 => Weather { loses: *chance.one_of(&[0, 20]), doubles: 3, slow: *chance.one_of(&[5, 100]) },
            _ => Weather::default(),
        };
        let visits = visits(chance);
        let count = chance.between(0, 4);
        let faults = (0..count).map(|_| fault(chance, processes)).collect();
        Plan { seed, processes, apart, delays, weather, visits, faults, planted }
    }
}

fn visits(chance: &mut Chance) -> Vec<Visit> {
    let orders = chance.between(1, 5) as usize;
    let mut visits = Vec::new();
    for order in 0..orders {
        let at = moment(chance, 0, 4_000);
        let what = Act::Buy {
            order,
            lines: lines(chance),
            card: chance.one_of::<&str>(&CARDS),
            at_once: *chance.one_of(&[1, 1, 1, 2, 3]),
        };
        visits.push(Visit { at, who: order % BUYERS, what });
        if chance.once_in(4) {
            let at = at + moment(chance, 0, 1_500);
            visits.push(Visit { at, who: order % BUYERS, what: Act::Cancel { order } });
        }
        let after = at + moment(chance, 200, 8_000);
        let what = match chance.below(8) {
            0 | 1 => Act::Refund { order, at_once: STAFF },
            2 => Act::Refund { order, at_once: 1 },
            3 => Act::Ship { order },
            4 | 5 => Act::Review { order, approve: !chance.once_in(3) },
            _ => continue,
        };
        visits.push(Visit { at: after, who: chance.below(STAFF as u64) as usize, what });
    }
    for _ in 0..chance.between(0, 3) {
        let thing = chance.below(SHELF.len() as u64) as usize;
        let what = match chance.below(3) {
            0 => Act::Receive { thing, count: chance.between(1, 3) as i64 },
            1 => Act::Price { thing, cents: chance.between(100, 2_000) as i64 },
            _ => Act::Look,
        };
        visits.push(Visit { at: moment(chance, 0, 6_000), who: chance.below(STAFF as u64) as usize, what });
    }
    visits
}

fn lines(chance: &mut Chance) -> Vec<(usize, u32)> {
    let first = chance.below(SHELF.len() as u64) as usize;
    let mut lines = vec![(first, chance.between(1, 2) as u32)];
    if chance.once_in(3) {
        lines.push(((first + 1) % SHELF.len(), 1));
    }
    lines
}

fn fault(chance: &mut Chance, processes: usize) -> Fault {
    let process = chance.below(processes as u64) as usize;
    let what = match chance.below(12) {
        0..4 => What::Kill { process, steps: chance.between(0, 80) },
        4..6 => What::Freeze { process },
        6 => What::Full { process },
        7 => What::Refuse { process, once_in: *chance.one_of(&[3, 10, 30]) },
        8 | 9 => What::Step { process, seconds: *chance.one_of(&[-3_600, -2, 70, 70, 70, 3_600]) },
        _ => What::Storm(Weather {
            loses: *chance.one_of(&[0, 2, 5, 10]),
            doubles: *chance.one_of(&[0, 2, 5]),
            slow: *chance.one_of(&[0, 20, 300]),
        }),
    };
    // Now and then for longer than a lease: others take over meanwhile.
    let span = if chance.once_in(6) { moment(chance, 31_000, 40_000) } else { moment(chance, 50, 5_000) };
    Fault { at: moment(chance, 0, 6_000), what, span }
}

fn moment(chance: &mut Chance, first: u64, last: u64) -> Duration {
    Duration::from_millis(chance.between(first, last))
}

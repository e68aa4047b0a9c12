//! What is done to a shop, and when: drawn from a seed before anything starts,
//! so that the same seed does the same again.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::wire::Line;

/// What can be hurt, by name.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Processes of the shop.
    pub programs: Vec<String>,
    /// Lines between two parts.
    pub wires: Vec<String>,
    /// Servers of Redis.
    pub redis: Vec<String>,
    /// Those that are two servers and a sentinel.
    pub watched: Vec<String>,
    /// Whether there is a PostgreSQL.
    pub postgres: bool,
    /// Whether there is a broker.
    pub broker: bool,
    /// Whether there is a disk that can be full.
    pub disk: bool,
}

/// Something that happens to a shop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When, from the beginning.
    pub at: Duration,
    /// How long it lasts.
    pub span: Duration,
    /// What.
    pub fault: Fault,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed and started again.
    Kill(String),
    /// A process is stopped.
    Freeze(String),
    /// A process that works on orders is stopped for so long that others take over what it had begun.
    Outlive(String),
    /// A process cannot write beyond so many bytes of a file.
    RefuseWrites(String, u64),
    /// There is room for so many KiB more on the disk, and then for nothing.
    FillDisk(u64),
    /// The clock of a process is so many seconds ahead, or behind, and then right again.
    StepClock(String, i64),
    /// A line is bad; what was sent meanwhile arrives late.
    Wire(String, Line),
    /// A line is bad; what was sent meanwhile is lost, and its connections with it.
    Lose(String, Line),
    /// A Redis forgets everything.
    FlushRedis(String),
    /// A Redis is killed and comes back empty.
    KillRedis(String),
    /// A Redis is stopped.
    FreezeRedis(String),
    /// The master among these is gone, and the one that follows it takes over.
    FailOverRedis(String),
    /// PostgreSQL ends at once and comes back.
    CrashPostgres,
    /// PostgreSQL has no connection left.
    CrowdPostgres,
    /// PostgreSQL dies for good, and its replica takes over.
    FailOver,
    /// The broker answers nobody.
    StopBroker,
}

impl Fault {
    /// What it is called in a report.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Kill(_) => "process killed",
            Fault::Freeze(_) => "process stopped",
            Fault::Outlive(_) => "stopped past its lease",
            Fault::RefuseWrites(..) => "writes refused",
            Fault::FillDisk(_) => "disk full",
            Fault::StepClock(_, ..0) => "clock stepped back",
            Fault::StepClock(..) => "clock stepped forward",
            Fault::Wire(_, Line::Slow(_)) => "network slow",
            Fault::Wire(_, Line::Cut) => "network stalled",
            Fault::Wire(..) => "connections reset",
            Fault::Lose(_, Line::Deaf) => "answers lost",
            Fault::Lose(..) => "network black hole",
            Fault::FlushRedis(_) => "redis flushed",
            Fault::KillRedis(_) => "redis killed",
            Fault::FreezeRedis(_) => "redis stopped",
            Fault::FailOverRedis(_) => "redis failed over",
            Fault::CrashPostgres => "postgres restarted",
            Fault::CrowdPostgres => "postgres out of connections",
            Fault::FailOver => "postgres failed over",
            Fault::StopBroker => "broker away",
        }
    }
}

/// The pause between two faults, in milliseconds: more than one a second.
const PAUSE_MS: std::ops::Range<u64> = 300..1_100;

/// How long a process is stopped that is to lose its leases, which last half a minute.
const PAST_LEASE_MS: std::ops::Range<u64> = 31_000..38_000;

/// By how many seconds a clock is wrong. For so long may wait what was put off by one that was ahead.
const STEP_S: std::ops::Range<i64> = 60..600;

/// How long it is wrong, in milliseconds.
const WRONG_MS: std::ops::Range<u64> = 500..8_000;

/// Everything that happens in this time.
pub fn plan(seed: u64, time: Duration, targets: &Targets) -> Vec<Planned> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut plan = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(chance.random_range(PAUSE_MS));
        if at >= time {
            return plan;
        }
        plan.push(draw(&mut chance, (at, time), targets));
    }
}

fn draw(chance: &mut StdRng, (at, time): (Duration, Duration), targets: &Targets) -> Planned {
    let mut of = |names: &[String]| names[chance.random_range(0..names.len())].clone();
    let clock = of(&targets.programs);
    let (program, wire) = (of(&targets.programs), of(&targets.wires));
    let watched = (!targets.watched.is_empty()).then(|| of(&targets.watched));
    let redis = (!targets.redis.is_empty()).then(|| of(&targets.redis));
    let mut kinds: Vec<(u32, Fault)> = vec![
        (6, Fault::Kill(program.clone())),
        (3, Fault::Freeze(program.clone())),
        (2, Fault::Wire(wire.clone(), Line::Slow(Duration::from_millis(chance.random_range(50..1_000))))),
        (2, Fault::Wire(wire.clone(), Line::Cut)),
        (4, Fault::Lose(wire.clone(), Line::Deaf)),
        (2, Fault::Wire(wire.clone(), Line::Reset)),
        (2, Fault::Lose(wire, Line::Cut)),
    ];
    let step = chance.random_range(STEP_S);
    kinds.push((2, Fault::StepClock(clock, if chance.random_bool(0.5) { step } else { -step })));
    if targets.postgres {
        kinds.extend([(1, Fault::CrashPostgres), (1, Fault::CrowdPostgres), (1, Fault::FailOver)]);
    } else {
        kinds.push((2, Fault::RefuseWrites(program, chance.random_range(0..256 * 1024))));
    }
    let room = chance.random_range(0..512);
    if targets.disk {
        kinds.push((2, Fault::FillDisk(room)));
    }
    if let Some(watched) = watched {
        kinds.push((1, Fault::FailOverRedis(watched)));
    }
    if targets.broker {
        kinds.push((2, Fault::StopBroker));
    }
    if let Some(redis) = redis {
        kinds.extend([
            (1, Fault::FlushRedis(redis.clone())),
            (1, Fault::KillRedis(redis.clone())),
            (1, Fault::FreezeRedis(redis)),
        ]);
    }
    let workers: Vec<&String> = targets.programs.iter().filter(|name| name.starts_with("orders")).collect();
    if !workers.is_empty() && at + Duration::from_millis(PAST_LEASE_MS.end) < time {
        kinds.push((1, Fault::Outlive(workers[chance.random_range(0..workers.len())].clone())));
    }
    let mut left = chance.random_range(0..kinds.iter().map(|(weight, _)| weight).sum());
    for (weight, fault) in kinds {
        if left < weight {
            let span = match fault {
                Fault::Outlive(_) => PAST_LEASE_MS,
                Fault::StepClock(..) => WRONG_MS,
                _ => 100..2_500,
            };
            return Planned { at, span: Duration::from_millis(chance.random_range(span)), fault };
        }
        left -= weight;
    }
    unreachable!("what is left is below the sum of the weights")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn fleet() -> Targets {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Targets {
            programs: names(&["orders-1", "users-1"]),
            wires: names(&["orders-1", "postgres"]),
            redis: names(&["queue", "cache"]),
            watched: names(&["cache"]),
            postgres: true,
            broker: true,
            disk: true,
        }
    }

    #[test]
    fn a_seed_always_plans_the_same() {
        let minute = Duration::from_secs(60);
        assert_eq!(plan(7, minute, &fleet()), plan(7, minute, &fleet()));
        assert_ne!(plan(7, minute, &fleet()), plan(8, minute, &fleet()));
    }

    #[test]
    fn there_is_a_fault_a_second_and_every_kind_in_ten_minutes() {
        let fleet_plan = plan(1, Duration::from_secs(600), &fleet());
        let programs = vec!["shop".to_owned()];
        let alone = Targets {
            programs,
            redis: Vec::new(),
            watched: Vec::new(),
            postgres: false,
            broker: false,
            ..fleet()
        };
        let embedded_plan = plan(1, Duration::from_secs(600), &alone);

        for (plan, kinds) in [(fleet_plan, 19), (embedded_plan, 11)] {
            assert!(plan.len() > 600, "{}", plan.len());
            let drawn: BTreeSet<&str> = plan.iter().map(|planned| planned.fault.kind()).collect();
            assert_eq!(drawn.len(), kinds, "{drawn:?}");
        }
    }
}

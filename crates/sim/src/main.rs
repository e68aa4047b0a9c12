//! Simulates many seeds, or one.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    collections::BTreeMap,
    fmt,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use sim::{PLANTED, Plan, Template, run, shrink};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A shop of several processes in one thread, whose every delay, fault and
/// death comes from a seed. Ends with status 1 at the first breach.
#[derive(Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many threads simulate.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// A fault to plant, by its name.
    #[arg(long)]
    planted: Option<String>,
    /// Plant every fault there is, one after the other, and tell how soon each is found.
    #[arg(long)]
    hunt: bool,
    /// Tell everything that happens.
    #[arg(long)]
    tell: bool,
    /// Come to an end when standard input does, behind the first thousand.
    #[arg(long)]
    while_input: bool,
    /// Go on behind a breach.
    #[arg(long)]
    go_on: bool,
}

#[allow(clippy::print_stdout)]
fn main() -> ExitCode {
    let args = Args::parse();
    sim::keep_memory();
    let template = Arc::new(Template::new());
    if args.tell {
        sim::tell_all();
    }
    if args.hunt {
        return hunt(&template, &args);
    }
    let planted = match args.planted.as_deref().map(fault) {
        None => None,
        Some(Some(name)) => Some(name),
        Some(None) => {
            let known: Vec<&str> = PLANTED.iter().map(|(name, _)| *name).collect();
            eprintln!("no such fault can be planted; these can: {}", known.join(", "));
            return ExitCode::from(2);
        }
    };
    let sum = simulate(&template, &args, planted);
    println!("{sum}");
    let Some((first, _)) = sum.broken.first_key_value() else { return ExitCode::SUCCESS };
    println!("{} seeds with breaches; the first is {first}, made smaller:", sum.broken.len());
    let (plan, outcome) = shrink(&template, Plan::of(*first, planted));
    println!("{plan:#?}\n{outcome:#?}");
    ExitCode::FAILURE
}

fn fault(name: &str) -> Option<&'static str> {
    PLANTED.iter().map(|(known, _)| *known).find(|known| *known == name)
}

/// Plants one fault after the other, and tells how soon each is found.
#[allow(clippy::print_stdout)]
fn hunt(template: &Arc<Template>, args: &Args) -> ExitCode {
    let mut all_found = true;
    for (name, what) in PLANTED {
        let sum = simulate(template, args, Some(name));
        match sum.broken.first_key_value() {
            Some((seed, breaches)) => {
                println!("| `{name}` | {what} | {} | {:.0} s | {} |", sum.seeds, sum.seconds, breaches[0]);
                println!("  seed {seed}");
            }
            None => {
                all_found = false;
                println!("| `{name}` | {what} | not in {} seeds | {:.0} s | |", sum.seeds, sum.seconds);
            }
        }
    }
    if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of many seeds.
#[derive(Default)]
struct Sum {
    seeds: u64,
    orders: u64,
    asked: u64,
    unclear: u64,
    deaths: u64,
    seconds: f64,
    /// By seed.
    broken: BTreeMap<u64, Vec<String>>,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum { seeds, orders, asked, unclear, deaths, seconds, .. } = self;
        let per_minute = *seeds as f64 / seconds * 60.0;
        write!(
            f,
            "{seeds} seeds in {seconds:.1} s ({per_minute:.0} a minute): {orders} orders, {asked} requests, "
        )?;
        write!(
            f,
            "{unclear} without a clear answer, {deaths} deaths, {} seeds with breaches",
            self.broken.len()
        )
    }
}

/// So many seeds are simulated even if they are to come to an end.
const AT_LEAST: u64 = 1_000;

/// Simulates the seeds, up to the first breach unless it is to go on.
#[allow(clippy::print_stdout)]
fn simulate(template: &Arc<Template>, args: &Args, planted: Option<&'static str>) -> Sum {
    let began = Instant::now();
    let next = AtomicU64::new(args.from);
    let called = Arc::new(AtomicBool::new(false));
    if args.while_input {
        let called = called.clone();
        thread::spawn(move || {
            drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
            called.store(true, Ordering::Relaxed);
        });
    }
    let sum = Mutex::new(Sum::default());
    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let enough = called.load(Ordering::Relaxed) && seed >= args.from + AT_LEAST;
                    let stop = enough || !args.go_on && !sum.lock().unwrap().broken.is_empty();
                    if seed >= args.from + args.seeds || stop {
                        return;
                    }
                    let outcome = run(template, &Plan::of(seed, planted));
                    let mut sum = sum.lock().unwrap();
                    sum.seeds += 1;
                    sum.orders += outcome.orders as u64;
                    sum.asked += outcome.asked;
                    sum.unclear += outcome.unclear;
                    sum.deaths += outcome.deaths;
                    if !outcome.breaches.is_empty() {
                        if !args.hunt {
                            println!("seed {seed}: {:#?}", outcome.breaches);
                        }
                        sum.broken.insert(seed, outcome.breaches);
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap();
    sum.seconds = began.elapsed().as_secs_f64();
    sum
}

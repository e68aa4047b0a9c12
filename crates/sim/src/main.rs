//! Simulates many seeds, or one.

use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use sim::{Plan, Template, run, shrink};

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
    /// Tell everything that happens.
    #[arg(long)]
    tell: bool,
    /// Go on behind a breach.
    #[arg(long)]
    go_on: bool,
}

#[allow(clippy::print_stdout)]
fn main() -> ExitCode {
    let args = Args::parse();
    let planted: Option<&'static str> = args.planted.map(|name| &*name.leak());
    let began = Instant::now();
    let template = Arc::new(Template::new());
    if args.tell {
        sim::tell_all();
    }
    println!("the shop was made in {:?}", began.elapsed());
    let began = Instant::now();
    let next = AtomicU64::new(args.from);
    let (asked, unclear, orders, deaths, done) = Default::default();
    let (asked, unclear, orders, deaths, done): (AtomicU64, AtomicU64, AtomicU64, AtomicU64, AtomicU64) =
        (asked, unclear, orders, deaths, done);
    let broken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let stop = !args.go_on && !broken.lock().unwrap().is_empty();
                    if seed >= args.from + args.seeds || stop {
                        return;
                    }
                    let outcome = run(&template, &Plan::of(seed, planted));
                    asked.fetch_add(outcome.asked, Ordering::Relaxed);
                    unclear.fetch_add(outcome.unclear, Ordering::Relaxed);
                    orders.fetch_add(outcome.orders as u64, Ordering::Relaxed);
                    deaths.fetch_add(outcome.deaths, Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                    if !outcome.breaches.is_empty() {
                        println!("seed {seed}: {:#?}", outcome.breaches);
                        broken.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{done:?} seeds in {seconds:.1} s ({:.0} a minute): {orders:?} orders, {asked:?} requests, {unclear:?} without a clear answer, {deaths:?} deaths",
        done.load(Ordering::Relaxed) as f64 / seconds * 60.0
    );
    let broken = broken.into_inner().unwrap();
    let Some(&first) = broken.iter().min() else { return ExitCode::SUCCESS };
    println!("{} seeds with breaches; the first is {first}, made smaller:", broken.len());
    let (plan, outcome) = shrink(&template, Plan::of(first, planted));
    println!("{plan:#?}\n{outcome:#?}");
    ExitCode::FAILURE
}

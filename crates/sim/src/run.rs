//! One simulation, from the opening of the shop to the audit.

use std::{path::Path, sync::Arc, thread, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    chance::{Chance, seed_this_thread},
    network::{Net, Weather},
    people::People,
    plan::{Fault, Plan, What},
    process::{Process, Start},
    shelf::{Template, on_a_runtime},
    truth,
};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Promises that were broken; none, if all is well.
    pub breaches: Vec<String>,
    /// How many requests were made.
    pub asked: u64,
    /// How many of them had no clear answer.
    pub unclear: u64,
    /// How many orders there are in the end.
    pub orders: usize,
    /// How many processes died.
    pub deaths: u64,
    /// How long it took, on its own clock.
    pub took: Duration,
    /// A number that another course of things would make another.
    pub trace: u64,
}

/// Simulates this plan, in a thread of its own, the same way each time.
pub fn run(template: &Arc<Template>, plan: &Plan) -> Outcome {
    let (template, plan) = (template.clone(), plan.clone());
    let simulation = thread::Builder::new().name(format!("seed {}", plan.seed)).stack_size(8 << 20);
    let simulation = simulation.spawn(move || {
        seed_this_thread(plan.seed);
        on_a_runtime(Simulation::run(&template, &plan))
    });
    simulation.unwrap().join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Outcome {
            breaches: vec![format!("a panic: {why}")],
            asked: 0,
            unclear: 0,
            orders: 0,
            deaths: 0,
            took: Duration::ZERO,
            trace: 0,
        }
    })
}

/// A shop, while it is simulated.
struct Simulation<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    began: Instant,
    chance: Chance,
    net: Net,
    /// By number; nothing for those that are dead.
    processes: Vec<Option<Process>>,
    /// For how long a process stays away that dies.
    away: Vec<Duration>,
    deaths: u64,
}

/// What is to happen next.
enum Event {
    Break(Fault),
    Mend(Fault),
    Start(usize),
}

impl Simulation<'_> {
    async fn run(template: &Arc<Template>, plan: &Plan) -> Outcome {
        let files = template.copy();
        let mut chance = Chance::new(plan.seed ^ 0xC0FF_EE00);
        let net = Net::new(chance.bits(), plan.processes);
        let mut simulation = Simulation {
            plan,
            folder: files.path(),
            began: Instant::now(),
            chance,
            net: net.clone(),
            processes: (0..plan.processes).map(|_| None).collect(),
            away: vec![Duration::ZERO; plan.processes],
            deaths: 0,
        };
        for process in 0..plan.processes {
            simulation.start(process).await;
        }
        net.turn(plan.weather);
        let people = People::new(&net, template, simulation.began);
        let mut visits = JoinSet::new();
        for (number, visit) in plan.visits.iter().cloned().enumerate() {
            visits.spawn(people.clone().visit(number, visit));
        }
        simulation.happen(&mut visits).await;
        let process = simulation.calm_down().await;
        let (breaches, orders) = truth::find_out(&process, &people, template).await;
        let book = people.book.lock().unwrap();
        Outcome {
            breaches: book.breaches.iter().cloned().chain(breaches).collect(),
            asked: book.asked,
            unclear: book.unclear,
            orders,
            deaths: simulation.deaths,
            took: simulation.began.elapsed(),
            trace: book.trace,
        }
    }

    async fn start(&mut self, number: usize) {
        if self.processes[number].is_some() {
            return;
        }
        let process = Process::start(Start {
            folder: self.folder,
            began: self.began,
            seed: self.chance.bits(),
            planted: self.plan.planted,
            net: &self.net,
            processes: self.plan.processes,
            apart: self.plan.apart,
        })
        .await;
        self.net.connect(number, process.shop.world(), process.shop.services());
        process.machine.delay_once_in(self.plan.delays);
        process.work();
        self.processes[number] = Some(process);
    }

    /// Everything that the plan has, until everybody has left.
    async fn happen(&mut self, visits: &mut JoinSet<()>) {
        let mut agenda: Vec<(Duration, Event)> =
            self.plan.faults.iter().map(|fault| (fault.at, Event::Break(fault.clone()))).collect();
        loop {
            let back = self.bury().await;
            agenda.extend(back);
            agenda.sort_by_key(|(at, _)| *at);
            let next = agenda.first().map(|(at, _)| self.began + *at);
            tokio::select! {
                biased;
                left = visits.join_next() => match left {
                    Some(left) => left.unwrap(),
                    None => return,
                },
                () = tokio::time::sleep_until(next.unwrap_or(self.began)), if next.is_some() => {
                    let (at, event) = agenda.remove(0);
                    agenda.extend(self.take_place(at, event).await);
                }
                // Whoever has died by what it did is buried soon.
                () = sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    /// Does it, and says what follows from it.
    async fn take_place(&mut self, at: Duration, event: Event) -> Option<(Duration, Event)> {
        match event {
            Event::Start(number) => {
                self.start(number).await;
                None
            }
            Event::Break(fault) => {
                self.set(&fault.what, true);
                let after = at + fault.span;
                match fault.what {
                    What::Kill { process, .. } => {
                        self.away[process] = fault.span;
                        None
                    }
                    What::Step { .. } => None,
                    _ => Some((after, Event::Mend(fault))),
                }
            }
            Event::Mend(fault) => {
                self.set(&fault.what, false);
                None
            }
        }
    }

    fn set(&mut self, what: &What, broken: bool) {
        let of = |number: &usize| self.processes[*number].as_ref();
        match what {
            What::Kill { process, steps } => {
                if let Some(process) = of(process) {
                    process.disk.die_after(*steps);
                }
            }
            What::Freeze { process } => {
                if let Some(Process { machine, .. }) = of(process) {
                    if broken { machine.freeze() } else { machine.thaw() }
                }
            }
            What::Full { process } => {
                if let Some(process) = of(process) {
                    process.disk.fill(broken);
                }
            }
            What::Refuse { process, once_in } => {
                if let Some(process) = of(process) {
                    process.disk.refuse_once_in(if broken { *once_in } else { 0 });
                }
            }
            What::Storm(weather) => self.net.turn(if broken { *weather } else { self.plan.weather }),
            What::Step { process, seconds } => {
                if let Some(process) = of(process) {
                    process.machine.step_clock(seconds * 1_000_000);
                }
            }
        }
    }

    /// Takes away who has died since, and says when each comes back.
    async fn bury(&mut self) -> Vec<(Duration, Event)> {
        let mut back = Vec::new();
        for number in 0..self.processes.len() {
            if self.processes[number].as_ref().is_some_and(|process| process.machine.is_dead()) {
                self.end(number).await;
                self.deaths += 1;
                back.push((self.began.elapsed() + self.away[number], Event::Start(number)));
            }
        }
        back
    }

    async fn end(&mut self, number: usize) {
        if let Some(process) = self.processes[number].take() {
            self.net.disconnect(number);
            process.machine.clear_away();
            drop(process);
            // What its tasks held is let go when they are.
            tokio::task::yield_now().await;
        }
    }

    /// Nothing breaks any more: every process ends as by a kill, and one that
    /// is well is started. Returns that one; it works on nothing by itself.
    async fn calm_down(&mut self) -> Process {
        for number in 0..self.processes.len() {
            self.end(number).await;
        }
        sleep(Duration::from_secs(1)).await;
        self.net.turn(Weather::default());
        let start = Start {
            folder: self.folder,
            began: self.began,
            seed: self.chance.bits(),
            planted: self.plan.planted,
            net: &self.net,
            processes: 1,
            apart: false,
        };
        let process = Process::start(start).await;
        let router = process.shop.services();
        for number in 0..self.processes.len() {
            self.net.connect(number, process.shop.world(), router.clone());
        }
        process
    }
}

//! `carmel torture`: starts a shop in a folder of its own, uses it as customers
//! and staff do, does to it what production does, and compares what was
//! answered with what is there in the end.

pub mod broker;
mod check;
mod client;
mod crowd;
mod history;
mod look;
mod plan;
mod report;
mod stage;
mod wire;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kernel::{Error, Result, World};
use reqwest::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use self::{
    check::Shop,
    client::{Ask, Door, Person},
    crowd::{Buyer, Crowd, HOT, ORDINARY, PASSWORD, Staff, ordinary, text},
    history::{Delivery, Fate, History},
    plan::Planned,
    report::{Recovery, Report},
    stage::{Stage, Wanted},
};
use crate::{audit, program, servers};

const OWNER: &str = "owner@example.com";
/// How long a shop may take until it is ready, with all that is new in it.
const START: Duration = Duration::from_secs(90);
/// How long all orders may take to end once nothing hurts any more: a step
/// that failed often is tried again after a quarter of an hour.
const SETTLE: Duration = Duration::from_secs(1_000);
/// How long what follows from ended orders (mails, events) may take.
const FOLLOW: Duration = Duration::from_secs(60);

/// What the command is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long the shop is hurt, in minutes.
    #[arg(long, value_name = "M", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=1_440))]
    pub minutes: Option<u64>,
    /// The same in seconds; 60 when nothing is said.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// What decides which faults come when; a new one when nothing is said.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Separate services on a PostgreSQL and a Redis started for it, instead of one process on SQLite.
    #[arg(long)]
    pub fleet: bool,
    /// Events of a fleet go through Kafka: the brokers of KAFKA_BROKERS, or one in memory that can be away.
    #[arg(long, requires = "fleet")]
    pub kafka: bool,
    /// Another version of the program, usually an older one, started in place of this one as often as not.
    #[arg(long, value_name = "PROGRAM")]
    pub beside: Option<PathBuf>,
    /// Where the shop stands, and stays; a folder that is gone afterwards when nothing is said.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// So many customers buy at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub buyers: u64,
    /// The report as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Options {
    fn time(&self) -> Duration {
        const MINUTE: u64 = 60;
        Duration::from_secs(self.seconds.or(self.minutes.map(|minutes| minutes * MINUTE)).unwrap_or(MINUTE))
    }
}

/// Runs it and prints the report. 0 is no breach, 1 some, 2 that it could not run.
pub async fn torture(options: &Options, brokers: Vec<String>, world: &World) -> ExitCode {
    let seed = options.seed.unwrap_or_else(|| u64::from(u32::from_le_bytes(world.random())));
    let report = hurt(options, brokers, seed, world).await;
    crate::conclude(&format!("torture (seed {seed})"), report, options.json, |report| {
        report.breaches.is_empty()
    })
}

async fn hurt(options: &Options, brokers: Vec<String>, seed: u64, world: &World) -> Result<Report> {
    let of_fleet = servers::POSTGRES.into_iter().chain([servers::REDIS]).filter(|_| options.fleet);
    servers::check_installed([servers::SETPRIV].into_iter().chain(of_fleet))?;
    let (folder, is_own) = program::own_folder(options.folder.as_deref(), "torture", world)?;
    eprintln!("seed {seed}, in {}", folder.display());
    let owner = (OWNER.to_owned(), PASSWORD.to_owned());
    let (fleet, kafka) = (options.fleet, options.kafka || !brokers.is_empty());
    let beside = options.beside.clone().map(|program| (program, seed));
    let wanted = Wanted { folder: folder.clone(), fleet, kafka, brokers, beside, owner };
    let stage = Stage::start(&wanted).await?;
    let outcome = tokio::select! {
        report = run(options, seed, &stage) => report,
        failed = stage.keep() => match failed {
            Err(error) => Err(error),
            Ok(()) => unreachable!("it ends only when it fails"),
        },
    };
    stage.stop().await?;
    let is_over = is_own && outcome.as_ref().is_ok_and(|report| report.breaches.is_empty());
    match is_over {
        true => std::fs::remove_dir_all(&folder).map_err(Error::internal)?,
        false => stage.keep_files().await?,
    }
    outcome
}

async fn run(options: &Options, seed: u64, stage: &Stage) -> Result<Report> {
    let (time, door) = (options.time(), Arc::new(Door::at(&stage.url)?));
    until_ready(&door, START).await?;
    let crowd = Arc::new(Crowd::new(door.clone()));
    let mut owner = Person::new(&door, OWNER, PASSWORD);
    let (mut history, shelf) = furnish(&mut owner).await?;
    let variants: Vec<String> = shelf.iter().map(|(_, variant)| variant.clone()).collect();
    let staff = Staff::new(&crowd, seed, (staff(&mut owner, 1).await?, staff(&mut owner, 2).await?), shelf);
    let mut buyers = Vec::new();
    for at in 0..options.buyers as usize {
        let mut buyer = Buyer::new(&crowd, seed, at);
        buyer.arrive(at).await?;
        buyers.push(buyer);
    }

    let plan = plan::plan(seed, time, &stage.targets());
    let mut buying = JoinSet::new();
    for buyer in buyers {
        buying.spawn(buyer.shop());
    }
    let working = tokio::spawn(staff.work());
    let mut faults = BTreeMap::new();
    plan.iter().for_each(|planned| *faults.entry(planned.fault.kind()).or_default() += 1);
    let after_faults = inflict(stage, &door, plan, time).await?;
    crowd.stop();

    let healed = Instant::now();
    until_ready(&door, SETTLE).await?;
    let ready = healed.elapsed();
    let mut going_home = JoinSet::new();
    while let Some(buyer) = buying.join_next().await {
        going_home.spawn(buyer.map_err(Error::internal)?.go_home());
    }
    history.merge(working.await.map_err(Error::internal)?.go_home().await);
    while let Some(own) = going_home.join_next().await {
        history.merge(own.map_err(Error::internal)?);
    }
    let orders = settle(&mut owner).await?;
    let settled = healed.elapsed().saturating_sub(ready);
    let mut breaches = compare(&mut owner, &history, &variants, &stage.mails()).await?;
    breaches.extend(audit(stage).await?);
    breaches.extend(stage.panics());
    Ok(Report {
        seed,
        shop: if options.fleet { "fleet" } else { "embedded" },
        seconds: time.as_secs(),
        faults,
        provider: crowd.cards.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        requests: door.requests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        unknown_outcomes: door.resolved.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        orders,
        recovery: Recovery::new(after_faults, ready, settled),
        ended_by_themselves: stage.ended(),
        starts: stage.starts(),
        breaches,
    })
}

async fn until_ready(door: &Door, within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    while !door.is_ready().await {
        if Instant::now() > until {
            let message = format!("the shop is not ready after {} s; its logs say more", within.as_secs());
            return Err(Error::unavailable("shop_not_ready", message));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Puts things up for sale: what was taken in, and product and variant of each.
async fn furnish(owner: &mut Person) -> Result<(History, Vec<(String, String)>)> {
    let (mut history, mut shelf) = (History::default(), Vec::new());
    let things = std::iter::once((HOT.to_owned(), 10)).chain((0..ORDINARY).map(|at| (ordinary(at), 500)));
    for (sku, quantity) in things {
        let variant = json!({ "sku": sku, "price": { "amount": 1_000, "currency": "EUR" } });
        let product = json!({ "name": sku, "variants": [variant] });
        let key = format!("first-{sku}");
        let made = owner.must(&Ask::change("furnish", Method::POST, "/products", &key, product)).await?;
        let movement = json!({ "quantity": quantity, "reason": "received", "note": key });
        let path = format!("/stock/{sku}/movements");
        owner.must(&Ask::change("furnish", Method::POST, path, &key, movement)).await?;
        history.deliveries.insert(key, Delivery { sku: sku.clone(), quantity, fate: Fate::Done(()) });
        // The hot one keeps its price: it is what everybody wants.
        if sku != HOT {
            shelf.push((text(&made["id"]), text(&made["variants"][0]["id"])));
        }
    }
    Ok((history, shelf))
}

/// Somebody who works there.
async fn staff(owner: &mut Person, at: usize) -> Result<Person> {
    let email = format!("staff-{at}@example.com");
    let body = json!({ "name": "Staff", "email": email, "password": PASSWORD });
    let made = owner.must(&Ask::change("furnish", Method::POST, "/users", &email, body)).await?;
    let path = format!("/users/{}", text(&made["id"]));
    let role = json!({ "role": "staff" });
    owner.must(&Ask::change("furnish", Method::PATCH, path, &format!("role-{at}"), role)).await?;
    Ok(Person::new(&owner.door, &email, PASSWORD))
}

/// Does all that is planned, each in its time and beside one another; how long
/// it took after each until a change was done again.
async fn inflict(
    stage: &Stage,
    door: &Arc<Door>,
    plan: Vec<Planned>,
    time: Duration,
) -> Result<Vec<Duration>> {
    let (began, after_faults) = (Instant::now(), Mutex::new(Vec::new()));
    let one = async |planned: Planned| {
        tokio::time::sleep_until(began + planned.at).await;
        stage.inflict(&planned).await?;
        let works_again = door.works_again();
        tokio::select! {
            // The last ones may see nobody who asks any more.
            () = tokio::time::sleep_until(began + time) => {}
            took = works_again => after_faults.lock().unwrap_or_else(PoisonError::into_inner).push(took),
        }
        Ok::<_, Error>(())
    };
    futures::future::try_join_all(plan.into_iter().map(one)).await?;
    tokio::time::sleep_until(began + time).await;
    Ok(after_faults.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Waits until every order has ended; where.
async fn settle(owner: &mut Person) -> Result<BTreeMap<String, u64>> {
    const ENDS: [&str; 3] = ["confirmed", "cancelled", "refunded"];
    let until = Instant::now() + SETTLE;
    loop {
        let states = look::states(owner).await?;
        if states.keys().all(|state| ENDS.contains(&state.as_str())) || Instant::now() > until {
            return Ok(states); // one that has not ended is found by the comparison
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What the shop says against what was answered. Mails and the like follow a
/// little later: what is still wrong after a while is a breach.
async fn compare(
    owner: &mut Person,
    history: &History,
    variants: &[String],
    mails: &std::path::Path,
) -> Result<Vec<String>> {
    let until = Instant::now() + FOLLOW;
    loop {
        let shop: Shop = look::look(owner, variants, mails).await?;
        let breaches = check::breaches(history, &shop);
        if breaches.is_empty() || Instant::now() > until {
            return Ok(breaches);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// What `carmel audit` finds.
async fn audit(stage: &Stage) -> Result<Vec<String>> {
    let (_, said) = stage.command(&["audit", "--json"], "").await?;
    audit::breaches_said(&said)
}

//! `carmel move --to postgres://…`: an embedded shop becomes one on PostgreSQL.
//!
//! While it runs nobody else has the files open: it refuses to begin beside a
//! shop that is being served, and no other command gets in. (To go on serving
//! without writing would save the readers a pause and cost every writer of
//! the shop, down to its sweeps, a rule of its own.) From the first row on the
//! folder is marked, so that nothing is sold there which the copy lacks.
//!
//! The copy grows in schemas that no shop looks at (`moving_<id>_users`, …). Only
//! when it was compared and audited are they given their names, all at once; so
//! nobody serves half a shop over there either.

mod copy;
mod destination;
mod mark;
mod target;

use std::io::IsTerminal;

use db::{Db, Target};
use kernel::{Error, Kind, Result, World};

use self::{
    mark::Mark,
    target::{Found, There},
};
use crate::{
    audit::{self, Past},
    backup,
    config::{Config, Database, Secret},
    databases::{self, SERVICES},
    part::Parts,
    shop::Shop,
};

pub use destination::Destination;
pub use mark::may_open;

/// Fails (`target_not_empty`) when a shop, or the beginning of one, is in this database of PostgreSQL.
pub async fn must_be_empty(url: &str, world: &World) -> Result<()> {
    There { url, id: "" }.look(world).await.map(drop)
}

/// Moves the shop, or goes on where an earlier run of it ended.
pub async fn relocate(config: &Config, world: &World, to: &str) -> Result<()> {
    must_be_embedded(config)?;
    let folder = &config.data.folder;
    backup::may_open(folder)?;
    let before = Mark::find(folder)?;
    if let Some(mark) = before.as_ref().filter(|mark| mark.ended) {
        return Err(mark.refusal(folder));
    }
    let past = Past::new(world);
    let files = open_alone(config, &past.world()).await?;
    let here = Shop::of(config, &past.world(), &Parts::all(), files).await?;
    must_be_sound(&here, &past, "here").await?;

    let begun = before.is_some();
    let mark = Mark::new(world, before.map(|mark| mark.id), to);
    let there = There { url: to, id: &mark.id };
    match there.look(world).await.map_err(|error| advised(error, &mark, begun))? {
        Found::Nothing => mark.write(folder)?,
        Found::Beginning => {
            println!("a move was begun before: it goes on");
            mark.write(folder)?;
        }
        // Killed between the last two steps.
        Found::End => return end(mark, config),
    }
    let copied =
        bring_over(&here, &there, config, world).await.map_err(|error| advised(error, &mark, true))?;
    println!("{copied}");
    let ended = end(mark, config);
    here.close().await;
    ended
}

/// Copies the shop, checks the copy and gives it its names.
async fn bring_over(here: &Shop, there: &There<'_>, config: &Config, world: &World) -> Result<String> {
    let copied = copy_all(here, there, world).await?;
    let past = Past::new(world);
    let shop = there.shop(config, &past.world()).await?;
    must_be_sound(&shop, &past, "there").await?;
    shop.close().await;
    there.finish(world).await?;
    world.reached("move.finished");
    Ok(copied)
}

/// What went wrong over there, and what to do about it.
fn advised(error: Error, mark: &Mark, begun: bool) -> Error {
    let again = if begun { "what was copied is kept: run `carmel move` again" } else { "nothing was begun" };
    let advice = match (error.kind, &*error.code) {
        (_, "database_forbidden") => "GRANT CREATE ON DATABASE … TO … lets that user make schemas",
        (_, "database_refused") => "see that user, password and database are right",
        (Kind::Unavailable | Kind::TimedOut, _) => "see that it runs and can be reached from here",
        _ => return error,
    };
    let message = format!("{}: {}; {advice}; {again}", mark.to, error.message);
    Error::new(error.kind, error.code.clone(), message).because(error.chain())
}

/// Copies every table of every service and compares what is there with what is
/// here.
async fn copy_all(here: &Shop, there: &There<'_>, world: &World) -> Result<String> {
    let progress = Progress { terminal: std::io::stderr().is_terminal() };
    let (mut tables, mut rows, mut new) = (0, 0, 0);
    let mut wrong = Vec::new();
    for (service, from) in &here.databases {
        let to = there.open(world, service).await?;
        target::prepare(&to).await?;
        for table in copy::tables(from, &to).await? {
            let name = format!("{service}.{}", table.name);
            let tell = |rows| progress.tell(&name, rows);
            new += copy::copy(from, &to, &table, |rows| {
                tell(rows);
                world.reached(&format!("move.{name}"));
            })
            .await?;
            let (own, other) = (copy::sum(from, &table).await?, copy::sum(&to, &table).await?);
            if own != other {
                wrong.push(format!("{name} ({} rows here, {} there)", own.rows, other.rows));
            }
            tables += 1;
            rows += own.rows;
        }
        to.close().await;
    }
    progress.end();
    if !wrong.is_empty() {
        let message = format!(
            "what was copied is not what is here: {}; drop the schemas {} there and run this again",
            wrong.join(", "),
            there.schema("*")
        );
        return Err(Error::conflict("copy_differs", message));
    }
    let earlier = rows - new;
    Ok(format!(
        "{rows} rows in {tables} tables were copied ({earlier} of them by an earlier run) and compared; \
         the audit finds nothing on either side"
    ))
}

/// Marks the files as moved and says what to do next.
fn end(mark: Mark, config: &Config) -> Result<()> {
    let folder = &config.data.folder;
    let (to, path) = (mark.to.clone(), Mark::path(folder));
    Mark { ended: true, ..mark }.write(folder)?;
    println!("the shop is in PostgreSQL now: set DATABASE_URL to the address you gave ({to}) and serve it");
    println!(
        "the files in {} are not served any more; delete {} to undo that",
        folder.display(),
        path.display()
    );
    Ok(())
}

fn must_be_embedded(config: &Config) -> Result<()> {
    if SERVICES.iter().any(|service| config.database.url_of(service).is_some()) {
        let message = "the settings say that this shop is in PostgreSQL (DATABASE_URL): what is moved is a \
                       shop in files";
        return Err(Error::new(Kind::Invalid, "not_embedded", message));
    }
    if !config.data.folder.join(format!("{}.db", SERVICES[0])).exists() {
        let message = format!("there is no shop in {} (data.folder)", config.data.folder.display());
        return Err(Error::new(Kind::Invalid, "no_shop", message));
    }
    Ok(())
}

/// Opens the files for nobody else, up to date.
async fn open_alone(config: &Config, world: &World) -> Result<Vec<(&'static str, Db)>> {
    let mut databases = Vec::new();
    for service in SERVICES {
        let db = Db::open_alone(&databases::target(config, service), world).await?;
        db.migrate(&databases::migrations(service)).await?;
        databases.push((*service, db));
    }
    Ok(databases)
}

/// Nobody serves it, perhaps for long: it is looked at by the time when it ended.
async fn must_be_sound(shop: &Shop, past: &Past, place: &str) -> Result<()> {
    past.set_back(shop).await?;
    let report = audit::audit(shop).await?;
    match report.breaches.first() {
        None => Ok(()),
        Some(first) => {
            let count = report.breaches.len();
            let message = format!(
                "the shop {place} is not sound: {count} breaches, such as {first}; `carmel audit` on the files \
                 lists what is wrong here; what is wrong there alone is a fault of the copy"
            );
            Err(Error::conflict("audit_failed", message))
        }
    }
}

impl There<'_> {
    /// The copy as a shop, under the names it has while it is made.
    async fn shop(&self, config: &Config, world: &World) -> Result<Shop> {
        let database = Database { url: Secret::new(self.url.to_owned()), ..Database::default() };
        let config = Config { database, ..config.clone() };
        let mut databases = Vec::new();
        for service in SERVICES {
            databases.push((*service, self.open(world, service).await?));
        }
        Shop::of(&config, world, &Parts::all(), databases).await
    }

    /// The tables of a service over there, made when they are missing.
    async fn open(&self, world: &World, service: &str) -> Result<Db> {
        let schema = self.schema(service);
        let target = Target::Postgres { url: self.url.to_owned(), schema, connections: 2 };
        let db = Db::open(&target, world).await?;
        db.migrate(&databases::migrations(service)).await?;
        Ok(db)
    }
}

/// Tells how far it is, where somebody looks on.
struct Progress {
    terminal: bool,
}

impl Progress {
    fn tell(&self, table: &str, rows: u64) {
        if self.terminal {
            eprint!("\r\x1b[K{table}: {rows} rows");
        }
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

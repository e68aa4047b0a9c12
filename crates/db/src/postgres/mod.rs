//! PostgreSQL: a transaction has a connection for itself, whoever only looks
//! shares one. One server takes the changes; its replicas may answer questions.

mod door;
mod error;
mod pool;
mod replicas;
mod transaction;
mod value;

pub(crate) use transaction::Tx;
pub(crate) use value::read_value;

use std::{sync::Arc, time::Duration};

use kernel::{Error, Kind, Result, World};
use tokio_postgres::types::Type;

use self::{
    door::{Door, Role},
    pool::{Pool, Shared},
    replicas::Replicas,
};
use crate::{Mode, Options, error::Failure};

/// How often a server that is waited for is asked again, and is spoken of.
const ASK: Duration = Duration::from_millis(200);
const SAY: Duration = Duration::from_secs(5);
/// How long it may take to answer then.
const ANSWER: Duration = Duration::from_secs(15);

/// A schema of a PostgreSQL database.
pub(crate) struct Postgres {
    primary: Arc<Server>,
    replicas: Option<Replicas>,
}

/// Where the schema is and how many connections lead there.
pub(crate) struct Place<'a> {
    pub url: &'a str,
    pub schema: &'a str,
    pub connections: usize,
}

impl Postgres {
    pub async fn open(place: Place<'_>, options: &Options, world: &World) -> Result<Postgres> {
        let server = |url, role| Server::new(url, role, &place, options, world);
        let primary = server(place.url, Role::Primary)?;
        let replicas: Result<Vec<_>> =
            options.replicas.iter().map(|url| server(url, Role::Replica)).collect();
        let replicas = replicas?;
        wait(&primary, place.schema, options).await?;
        let some = !replicas.is_empty();
        let replicas = some.then(|| Replicas::watched(primary.clone(), replicas, options.lag));
        Ok(Postgres { primary, replicas })
    }

    /// Begins a transaction, and says what it is: without a replica that may
    /// answer, what is near is the primary.
    pub async fn begin(&self, mode: Mode) -> Result<(Tx, Mode), Failure> {
        if mode != Mode::Near {
            return Ok((Tx::begin(&self.primary, mode).await?, mode));
        }
        if let Some(replica) = self.replicas.as_ref().and_then(Replicas::nearest)
            && let Ok(tx) = Tx::begin(replica, mode).await
        {
            return Ok((tx, mode));
        }
        Ok((Tx::begin(&self.primary, Mode::Read).await?, Mode::Read))
    }

    /// Prepares a text without running it.
    pub async fn check(&self, sql: &str) -> Result<(), Failure> {
        Tx::begin(&self.primary, Mode::Snapshot).await?.check(sql).await
    }

    pub async fn close(&self) {
        if let Some(replicas) = &self.replicas {
            replicas.close().await;
        }
        self.primary.close().await;
    }
}

/// A server and the connections to it.
pub(crate) struct Server {
    door: Arc<Door>,
    pool: Arc<Pool>,
    shared: Shared,
}

impl Server {
    fn new(
        url: &str,
        role: Role,
        place: &Place<'_>,
        options: &Options,
        world: &World,
    ) -> Result<Arc<Server>> {
        let door = Arc::new(Door::new(url, role, place.schema, options.pooler, world)?);
        let pool = Pool::new(door.clone(), place.connections);
        let shared = Shared::new(door.clone());
        Ok(Arc::new(Server { door, pool, shared }))
    }

    async fn close(&self) {
        self.pool.close().await;
        self.shared.close();
    }
}

/// Makes the schema, as soon as the server is there. What is used first
/// afterwards has its connections by then: a start does not fail for want of one.
async fn wait(server: &Server, schema: &str, options: &Options) -> Result<()> {
    let world = &server.door.world;
    let began = world.now();
    let mut said = None;
    loop {
        let error = match world.timeout(ANSWER, find_schema(server, schema, options.makes_schema)).await {
            Some(Ok(())) => break,
            Some(Err(failure)) => failure.error,
            None => Error::unavailable("database_unavailable", "the database does not answer"),
        };
        let now = world.now();
        if error.kind != Kind::Unavailable || now.since(began) >= options.wait {
            return Err(error);
        }
        if said.is_none_or(|said| now.since(said) >= SAY) {
            said = Some(now);
            let (hosts, cause) = (server.door.name(), error.chain());
            tracing::warn!(db.hosts = hosts, db.schema = schema, cause, "waiting for PostgreSQL");
        }
        world.sleep(ASK).await;
    }
    if said.is_some() {
        let waited_ms = u64::try_from(world.now().since(began).as_millis()).unwrap_or(u64::MAX);
        tracing::info!(db.hosts = server.door.name(), db.schema = schema, waited_ms, "PostgreSQL is there");
    }
    Ok(())
}

/// Makes the schema if it is missing. Only then, because it takes a right that
/// a user of an existing schema need not have.
async fn find_schema(server: &Server, schema: &str, makes: bool) -> Result<(), Failure> {
    let ask = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    let mut lease = server.pool.lease().await?;
    lease.set_clean(false);
    let client = &lease.connection().client;
    let found = client.query_typed_opt(ask, &[(&schema, Type::TEXT)]).await;
    if found.map_err(|cause| error::statement(cause, ask))?.is_none() {
        if !makes {
            let message = format!("there is no schema {schema} in this database");
            return Err(Failure::last(Error::not_found("no_tables", message)));
        }
        // IF NOT EXISTS alone fails when two make it at the same moment.
        let make = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtext('carmel schemas')); \
             CREATE SCHEMA IF NOT EXISTS {}; COMMIT",
            server.door.schema()
        );
        client.batch_execute(&make).await.map_err(|cause| error::statement(cause, &make))?;
    }
    lease.set_clean(true);
    server.shared.connection().await?;
    Ok(())
}

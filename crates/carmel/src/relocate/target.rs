//! The PostgreSQL database that a shop moves to. All of this is asked of
//! PostgreSQL only, and much of it only PostgreSQL can do.

use db::{Attempts, Db, Target, Tx, query_for};
use kernel::{Error, Result, Value, World};

use crate::databases::SERVICES;

/// The copy of one move.
pub struct There<'a> {
    /// The database. A secret.
    pub url: &'a str,
    /// The move.
    pub id: &'a str,
}

/// What is in the database.
pub enum Found {
    /// Nothing that is in the way.
    Nothing,
    /// The beginning of this move.
    Beginning,
    /// All of it.
    End,
}

impl There<'_> {
    /// The schema of a service, until the end.
    pub fn schema(&self, service: &str) -> String {
        format!("moving_{}_{service}", self.id)
    }

    /// Looks at what is there already. Fails with `target_not_empty` when that
    /// is anything but this move.
    pub async fn look(&self, world: &World) -> Result<Found> {
        let schema = "public".to_owned();
        let target = Target::Postgres { url: self.url.to_owned(), schema, connections: 1 };
        let db = Db::open(&target, world).await?;
        let schemas: Vec<(String, String, i64)> = db::read!(db, async |tx| {
            query_for(
                "",
                "SELECT n.nspname, COALESCE(obj_description(n.oid, 'pg_namespace'), ''),
                        (SELECT COUNT(*) FROM pg_class AS c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v'))
                 FROM pg_namespace AS n
                 WHERE CAST(n.nspname AS TEXT) = ANY($1) OR starts_with(CAST(n.nspname AS TEXT), 'moving_')
                 ORDER BY n.nspname",
            )
            .bind(Value::Texts(SERVICES.iter().map(|service| (*service).to_owned()).collect()))
            .fetch_all(tx)
            .await
        })?;
        db.close().await;
        let (ours, others): (Vec<_>, Vec<_>) =
            schemas.iter().partition(|(name, ..)| name.starts_with(&self.schema("")));
        // An empty schema may have been made by whoever set up the database.
        let full: Vec<_> = others.into_iter().filter(|(.., tables)| *tables > 0).collect();
        match full.first() {
            None if ours.is_empty() => Ok(Found::Nothing),
            None => Ok(Found::Beginning),
            Some((_, told, _)) if *told == self.told() => Ok(Found::End),
            Some(_) => Err(not_empty(full.iter().map(|(name, _, tables)| (name.as_str(), *tables)))),
        }
    }

    /// Gives the copy its names, all in one transaction: from then on it is the
    /// shop. An empty schema of that name makes room, a full one refuses.
    pub async fn finish(&self, world: &World) -> Result<()> {
        for service in SERVICES {
            let db = self.of(world, service).await?;
            while link_next(&db).await? {}
            db.close().await;
        }
        let db = self.of(world, SERVICES[0]).await?;
        let renamed: Result<u64> = db::write!(db, async |tx| {
            query_for(
                "",
                "DO $$
                 DECLARE
                     move TEXT := substring(current_schema() FROM '^moving_([0-9a-f]+)_');
                     old TEXT;
                     new TEXT;
                 BEGIN
                     FOR old IN SELECT nspname FROM pg_namespace
                         WHERE starts_with(CAST(nspname AS TEXT), 'moving_' || move || '_')
                     LOOP
                         new := substr(old, length('moving_' || move || '_') + 1);
                         EXECUTE format('DROP SCHEMA IF EXISTS %I', new);
                         EXECUTE format('ALTER SCHEMA %I RENAME TO %I', old, new);
                         EXECUTE format('COMMENT ON SCHEMA %I IS %L', new, 'carmel move ' || move);
                     END LOOP;
                 END $$",
            )
            .execute(tx)
            .await
        });
        db.close().await;
        renamed.map(drop)
    }

    async fn of(&self, world: &World, service: &str) -> Result<Db> {
        let schema = self.schema(service);
        Db::open(&Target::Postgres { url: self.url.to_owned(), schema, connections: 1 }, world).await
    }

    /// What the schemas are told at the end.
    fn told(&self) -> String {
        format!("carmel move {}", self.id)
    }
}

/// Makes new tables ready to take rows in any order: without what their
/// migrations have put in, and without references, which are noted in the
/// comment of the schema, a line each, until [`There::finish`] makes them again.
pub async fn prepare(db: &Db) -> Result<()> {
    let prepared: Result<u64> = db::write!(db, async |tx| {
        query_for(
            "",
            "DO $$
             DECLARE
                 owed TEXT := 'references';
                 link RECORD;
                 tables TEXT;
             BEGIN
                 IF obj_description(CAST(quote_ident(current_schema()) AS regnamespace), 'pg_namespace') IS NOT NULL THEN
                     RETURN;
                 END IF;
                 FOR link IN SELECT CAST(conrelid AS regclass) AS held_by, conname AS name, pg_get_constraintdef(oid) AS rule
                     FROM pg_constraint
                     WHERE contype = 'f' AND connamespace = CAST(quote_ident(current_schema()) AS regnamespace)
                 LOOP
                     owed := owed || chr(10) || format('ALTER TABLE %s ADD CONSTRAINT %I %s', link.held_by, link.name, link.rule);
                     EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', link.held_by, link.name);
                 END LOOP;
                 SELECT string_agg(quote_ident(tablename), ', ') INTO tables FROM pg_tables
                 WHERE schemaname = current_schema() AND tablename <> 'migrations';
                 EXECUTE 'TRUNCATE ' || tables;
                 EXECUTE format('COMMENT ON SCHEMA %I IS %L', current_schema(), owed);
             END $$",
        )
        .execute(tx)
        .await
    });
    prepared.map(drop)
}

/// Makes the last reference that is owed; says whether there was one. One in a
/// transaction with time enough, because PostgreSQL checks every row of a table
/// for it.
async fn link_next(db: &Db) -> Result<bool> {
    let mut attempts = Attempts::patient(db);
    loop {
        let mut tx = attempts.begin().await?;
        let outcome = attempts.run(link(&mut tx)).await;
        if let Some(outcome) = attempts.end(tx, outcome).await {
            return outcome;
        }
    }
}

async fn link(tx: &mut Tx) -> Result<bool> {
    query_for("", "SET LOCAL statement_timeout = 0").execute(tx).await?;
    let (owed,): (bool,) = query_for(
        "",
        "SELECT COALESCE(strpos(obj_description(CAST(quote_ident(current_schema()) AS regnamespace), 'pg_namespace'), chr(10)), 0) > 0",
    )
    .fetch_one(tx)
    .await?;
    if owed {
        query_for(
            "",
            "DO $$
             DECLARE
                 owed TEXT := obj_description(CAST(quote_ident(current_schema()) AS regnamespace), 'pg_namespace');
                 link TEXT := substring(owed FROM '[^' || chr(10) || ']+$');
             BEGIN
                 EXECUTE link;
                 EXECUTE format('COMMENT ON SCHEMA %I IS %L', current_schema(), left(owed, -1 - length(link)));
             END $$",
        )
        .execute(tx)
        .await?;
    }
    Ok(owed)
}

fn not_empty<'a>(schemas: impl Iterator<Item = (&'a str, i64)>) -> Error {
    let found: Vec<_> = schemas.map(|(name, tables)| format!("{name} ({tables} tables)")).collect();
    let message = format!(
        "there is something in that database already: {}; drop these schemas or give another database",
        found.join(", ")
    );
    Error::conflict("target_not_empty", message)
}

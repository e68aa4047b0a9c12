//! What callers ask of the job tables, each in their own transaction.

use std::{collections::HashSet, time::Duration};

use db::{Migration, Tx, many, query, values};
use kernel::{Error, JobId, Result};

use crate::{Job, JobView, Options, Policy};

/// The tables: jobs, queues and schedules. Every service's list has them.
pub const MIGRATIONS: &[Migration] = &[JOBS_1, JOBS_2];

const JOBS_1: Migration = Migration {
    name: "jobs_1",
    // `token` is the fencing token: it grows with every lease. `ready` says
    // that `run_at` has come, so that claiming never steps over those that wait
    // for later.
    sql: "
        CREATE TABLE jobs (
            id UUID NOT NULL PRIMARY KEY,
            name TEXT NOT NULL,
            queue TEXT NOT NULL,
            payload TEXT NOT NULL,
            unique_key TEXT,
            priority BIGINT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'dead')),
            ready BOOLEAN NOT NULL,
            run_at BIGINT NOT NULL,
            attempt BIGINT NOT NULL,
            attempts BIGINT NOT NULL CHECK (attempts > 0),
            token BIGINT NOT NULL,
            lease_micros BIGINT NOT NULL,
            leased_until_at BIGINT,
            progress BIGINT NOT NULL CHECK (progress BETWEEN 0 AND 100),
            last_error TEXT,
            traceparent TEXT,
            added_at BIGINT NOT NULL,
            finished_at BIGINT,
            CHECK ((state = 'running') = (leased_until_at IS NOT NULL)),
            CHECK ((state IN ('done', 'dead')) = (finished_at IS NOT NULL))
        );
        CREATE UNIQUE INDEX jobs_unique ON jobs (name, unique_key) WHERE state = 'waiting';
        CREATE UNIQUE INDEX jobs_unique_running ON jobs (name, unique_key) WHERE state = 'running';
        CREATE INDEX jobs_ready ON jobs (queue, priority, run_at, id) WHERE state = 'waiting' AND ready = TRUE;
        CREATE INDEX jobs_later ON jobs (run_at) WHERE state = 'waiting' AND ready = FALSE;
        CREATE INDEX jobs_leased ON jobs (leased_until_at) WHERE state = 'running';
        CREATE INDEX jobs_done ON jobs (finished_at) WHERE state = 'done';
        CREATE INDEX jobs_dead ON jobs (finished_at, id) WHERE state = 'dead';
        CREATE TABLE queues (
            name TEXT NOT NULL PRIMARY KEY,
            paused BOOLEAN NOT NULL
        );
        CREATE TABLE schedules (
            name TEXT NOT NULL PRIMARY KEY,
            cron TEXT NOT NULL,
            next_at BIGINT NOT NULL
        );
    ",
};

const JOBS_2: Migration = Migration {
    name: "jobs_2",
    // `handed_at` is set while a BullMQ job stands for the next lease of the
    // row. Who does not know the column may claim the row all the same.
    sql: "
        ALTER TABLE jobs ADD COLUMN handed_at BIGINT;
        CREATE INDEX jobs_to_hand_over ON jobs (queue, priority, run_at, id)
            WHERE state = 'waiting' AND ready = TRUE AND handed_at IS NULL;
        CREATE INDEX jobs_handed_over ON jobs (handed_at) WHERE handed_at IS NOT NULL;
    ",
};

/// The signal that says there is work: raised by whatever makes some.
pub(crate) const SIGNAL: &str = "jobs";

/// The signal that says there will be work, perhaps soon.
pub(crate) const LATER: &str = "jobs_later";

/// Adds a job to the change that causes it. Returns its id, or that of the one
/// that waits already when it is [unique](Job::unique).
pub async fn add<J: Job>(tx: &mut Tx, job: &J) -> Result<JobId> {
    add_with(tx, job, Options::default()).await
}

/// Adds a job, to be run as `options` say.
pub async fn add_with<J: Job>(tx: &mut Tx, job: &J, options: Options) -> Result<JobId> {
    insert(tx, Draft::of(job)?, options).await
}

/// So many jobs are added by one statement.
const TOGETHER: usize = 500;

/// Adds many jobs to the change that causes them. Returns their ids in order,
/// as [`add`] does.
pub async fn add_many<J: Job>(tx: &mut Tx, jobs: &[J]) -> Result<Vec<JobId>> {
    let mut ids = Vec::with_capacity(jobs.len());
    for some in jobs.chunks(TOGETHER) {
        ids.extend(add_many_with(tx, some.iter().map(|job| (job, Options::default()))).await?);
    }
    Ok(ids)
}

/// Adds many jobs by one statement, each to be run as its options say.
pub async fn add_many_with<J: Job>(
    tx: &mut Tx,
    jobs: impl IntoIterator<Item = (&J, Options)>,
) -> Result<Vec<JobId>> {
    let mut drafts = Vec::new();
    for (job, options) in jobs {
        drafts.push((JobId::new(tx.world()), Draft::of(job)?, options));
    }
    let added = try_insert(tx, &drafts).await?;
    let mut ids = Vec::with_capacity(drafts.len());
    for (id, draft, options) in drafts {
        ids.push(if added.contains(&id) { id } else { insert_as(tx, id, draft, options).await? });
    }
    Ok(ids)
}

/// A job that is not a row yet.
#[derive(Clone)]
pub(crate) struct Draft {
    pub name: &'static str,
    queue: &'static str,
    payload: String,
    unique_key: Option<String>,
    policy: Policy,
}

impl Draft {
    pub fn of<J: Job>(job: &J) -> Result<Draft> {
        Ok(Draft {
            name: J::NAME,
            queue: J::QUEUE,
            payload: serde_json::to_string(job).map_err(Error::internal)?,
            unique_key: job.unique(),
            policy: J::policy(),
        })
    }
}

pub(crate) async fn insert(tx: &mut Tx, draft: Draft, options: Options) -> Result<JobId> {
    let id = JobId::new(tx.world());
    insert_as(tx, id, draft, options).await
}

/// Inserts it under that id, unless one of its key waits already.
pub(crate) async fn insert_as(tx: &mut Tx, id: JobId, draft: Draft, options: Options) -> Result<JobId> {
    let new = [(id, draft, options)];
    let [(_, draft, options)] = &new;
    // Between the insert that met another and the look for it, that other may
    // have been claimed; then its place is free again.
    for _ in 0..8 {
        if !try_insert(tx, &new).await?.is_empty() {
            return Ok(id);
        }
        if let Some(id) = waiting(tx, draft, options).await? {
            tx.signal(SIGNAL);
            tx.signal(LATER);
            return Ok(id);
        }
    }
    let message = format!("a place for the job {} was never free", draft.name);
    Err(Error::unavailable("job_not_added", message))
}

/// Inserts those whose key nobody has who waits; returns which.
async fn try_insert(tx: &mut Tx, new: &[(JobId, Draft, Options)]) -> Result<HashSet<JobId>> {
    let insert = many(
        "INSERT INTO jobs (id, name, queue, payload, unique_key, priority, state, ready, run_at, attempt,
                           attempts, token, lease_micros, progress, traceparent, added_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'waiting', $7, $8, 0, $9, 0, $10, 0, $11, $12)
         ON CONFLICT DO NOTHING RETURNING id",
        "INSERT INTO jobs (id, name, queue, payload, unique_key, priority, state, ready, run_at, attempt,
                           attempts, token, lease_micros, progress, traceparent, added_at)
         SELECT id, name, queue, payload, unique_key, priority, 'waiting', ready, run_at, 0,
                attempts, 0, lease_micros, 0, traceparent, added_at
         FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::BIGINT[], $7::BOOLEAN[],
                     $8::BIGINT[], $9::BIGINT[], $10::BIGINT[], $11::TEXT[], $12::BIGINT[])
              AS given (id, name, queue, payload, unique_key, priority, ready, run_at, attempts, lease_micros,
                        traceparent, added_at)
         ON CONFLICT DO NOTHING RETURNING id",
    );
    let now = tx.world().now();
    let run_at = |options: &Options| options.at.unwrap_or(now) + options.delay;
    let rows = insert.rows(new, |(id, draft, options)| {
        values![
            *id,
            draft.name,
            draft.queue,
            draft.payload.as_str(),
            draft.unique_key.as_deref(),
            options.priority,
            run_at(options) <= now,
            run_at(options),
            draft.policy.attempts.max(1),
            micros(draft.policy.lease),
            options.traceparent.as_deref(),
            now,
        ]
    });
    let added: Vec<(JobId,)> = rows.fetch_all(tx).await?;
    let added: HashSet<JobId> = added.into_iter().map(|(id,)| id).collect();
    for (id, draft, options) in new.iter().filter(|(id, ..)| added.contains(id)) {
        tx.signal(if run_at(options) <= now { SIGNAL } else { LATER });
        tracing::debug!(job.id = %id, job.name = draft.name, "job added");
    }
    Ok(added)
}

/// The one that waits under this key. It is locked, so that it is not begun
/// before the caller's change, which it must see, is committed; and it runs as
/// early as the new one would, unless it waits after a failure.
async fn waiting(tx: &mut Tx, draft: &Draft, options: &Options) -> Result<Option<JobId>> {
    let now = tx.world().now();
    let run_at = options.at.unwrap_or(now) + options.delay;
    let found: Option<(JobId,)> = query(
        "UPDATE jobs SET run_at = CASE WHEN attempt = 0 AND run_at > $3 THEN $3 ELSE run_at END
         WHERE name = $1 AND unique_key = $2 AND state = 'waiting' RETURNING id",
    )
    .bind(draft.name)
    .bind(draft.unique_key.as_deref())
    .bind(run_at)
    .fetch_optional(tx)
    .await?;
    Ok(found.map(|(id,)| id))
}

/// The job of that id, unless there is none (any more: see retention).
pub async fn find(tx: &mut Tx, id: JobId) -> Result<Option<JobView>> {
    query(
        "SELECT id, name, queue, state, attempt, attempts, run_at, last_error, added_at, finished_at, progress
         FROM jobs WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(tx)
    .await
}

/// Dead letters, the oldest first.
pub async fn dead(tx: &mut Tx, limit: i64) -> Result<Vec<JobView>> {
    query(
        "SELECT id, name, queue, state, attempt, attempts, run_at, last_error, added_at, finished_at, progress
         FROM jobs WHERE state = 'dead' ORDER BY finished_at, id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// Gives a dead letter all its attempts again, from now on. Fails with
/// `job_not_dead` when it is none (any more), or when one of its
/// [key](Job::unique) waits already and will do the same work.
pub async fn retry(tx: &mut Tx, id: JobId) -> Result<()> {
    let now = tx.world().now();
    let revived = query(
        "UPDATE jobs SET state = 'waiting', ready = TRUE, run_at = $2, attempt = 0, progress = 0, finished_at = NULL
         WHERE id = $1 AND state = 'dead' AND NOT EXISTS (
             SELECT 1 FROM jobs other
             WHERE other.state = 'waiting' AND other.name = jobs.name AND other.unique_key = jobs.unique_key)",
    )
    .bind(id)
    .bind(now)
    .execute(tx)
    .await?;
    if revived == 0 {
        let message = format!("{id} is no dead letter, or another job does its work");
        return Err(Error::conflict("job_not_dead", message));
    }
    tx.signal(SIGNAL);
    tracing::info!(job.id = %id, "dead letter repeated");
    Ok(())
}

/// Begins no more jobs of that queue, in any process; those under way go on.
pub async fn pause(tx: &mut Tx, queue: &str) -> Result<()> {
    set_paused(tx, queue, true).await
}

/// Ends a pause.
pub async fn resume(tx: &mut Tx, queue: &str) -> Result<()> {
    tx.signal(SIGNAL);
    set_paused(tx, queue, false).await
}

async fn set_paused(tx: &mut Tx, queue: &str, paused: bool) -> Result<()> {
    query(
        "INSERT INTO queues (name, paused) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
    )
    .bind(queue)
    .bind(paused)
    .execute(tx)
    .await?;
    tracing::info!(job.queue = queue, paused, "queue paused or resumed");
    Ok(())
}

/// The paused queues, by name; at most 100.
pub async fn paused(tx: &mut Tx) -> Result<Vec<String>> {
    let names: Vec<(String,)> = query("SELECT name FROM queues WHERE paused = $1 ORDER BY name LIMIT 100")
        .bind(true)
        .fetch_all(tx)
        .await?;
    Ok(names.into_iter().map(|(name,)| name).collect())
}

/// How many are unfinished and not dead.
pub async fn pending(tx: &mut Tx) -> Result<i64> {
    let (count,) =
        query("SELECT COUNT(*) FROM jobs WHERE state IN ('waiting', 'running')").fetch_one(tx).await?;
    Ok(count)
}

pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

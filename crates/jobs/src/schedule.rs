//! What is done again and again: each slot of a cron expression adds one job,
//! whoever notices it first.

use croner::Cron;
use db::{Tx, query};
use jiff::{Timestamp, tz::TimeZone};
use kernel::{Error, Result, Time};

use crate::{
    Job, Options,
    store::{self, Draft},
};

/// A job that repeats. Slots are in UTC. Those that were missed while nobody
/// was there are made up for by one.
pub(crate) struct Schedule {
    name: &'static str,
    text: String,
    cron: Cron,
    draft: Draft,
}

impl Schedule {
    pub fn new<J: Job>(name: &'static str, text: &str, job: &J) -> Result<Schedule> {
        let cron: Cron = text.parse().map_err(|error| {
            Error::invalid("cron_invalid", format!("the schedule {name} is no cron expression: {error}"))
        })?;
        Ok(Schedule { name, text: text.to_owned(), cron, draft: Draft::of(job)? })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The first slot after that time.
    fn next_after(&self, time: Time) -> Result<Time> {
        let outside = |what: String| {
            Error::internal(what).because(format!("the schedule {} has no slot after {time}", self.name))
        };
        let at = Timestamp::from_microsecond(time.micros()).map_err(|error| outside(error.to_string()))?;
        let slot = self
            .cron
            .find_next_occurrence(&at.to_zoned(TimeZone::UTC), false)
            .map_err(|error| outside(error.to_string()))?;
        Ok(Time::from_micros(slot.timestamp().as_microsecond()))
    }
}

/// Makes the schedules known, from the next slot on; one whose expression was
/// changed begins anew.
pub(crate) async fn register(tx: &mut Tx, schedules: &[Schedule]) -> Result<()> {
    let now = tx.world().now();
    for schedule in schedules {
        query(
            "INSERT INTO schedules (name, cron, next_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, next_at = excluded.next_at
             WHERE schedules.cron <> excluded.cron",
        )
        .bind(schedule.name)
        .bind(schedule.text.as_str())
        .bind(schedule.next_after(now)?)
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// Adds the jobs whose slot has come. Of several that notice one slot the
/// guarded update lets one add the job.
pub(crate) async fn add_due(tx: &mut Tx, schedules: &[Schedule]) -> Result<()> {
    if schedules.is_empty() {
        return Ok(());
    }
    let now = tx.world().now();
    let due: Vec<(String, Time)> =
        query("SELECT name, next_at FROM schedules WHERE next_at <= $1 ORDER BY next_at LIMIT 100")
            .bind(now)
            .fetch_all(tx)
            .await?;
    for (name, slot) in due {
        let Some(schedule) = schedules.iter().find(|schedule| schedule.name == name) else {
            continue; // another version's
        };
        let taken = query("UPDATE schedules SET next_at = $3 WHERE name = $1 AND next_at = $2")
            .bind(schedule.name)
            .bind(slot)
            .bind(schedule.next_after(now)?)
            .execute(tx)
            .await?;
        if taken == 1 {
            let id = store::insert(tx, schedule.draft.clone(), Options::default()).await?;
            tracing::info!(job.id = %id, job.name = schedule.draft.name, schedule = name, %slot, "slot has come");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Nothing;
    impl Job for Nothing {
        const NAME: &'static str = "test.nothing";
    }

    #[test]
    fn slots_are_in_utc_and_after_the_time() {
        for (cron, time, slot) in [
            ("*/5 * * * *", "2026-11-27T09:30:00Z", "2026-11-27T09:35:00Z"),
            ("*/5 * * * *", "2026-11-27T09:34:59.999999Z", "2026-11-27T09:35:00Z"),
            ("0 3 * * *", "2026-12-31T03:00:00Z", "2027-01-01T03:00:00Z"),
            ("0 9 * * MON", "2026-11-27T09:30:00Z", "2026-11-30T09:00:00Z"),
        ] {
            let schedule = Schedule::new("test", cron, &Nothing).unwrap();

            assert_eq!(
                schedule.next_after(time.parse().unwrap()),
                Ok(slot.parse().unwrap()),
                "{cron} {time}"
            );
        }
    }

    #[test]
    fn what_is_no_cron_expression_is_refused_by_name() {
        let refused = Schedule::new("nightly", "every night", &Nothing).err().unwrap();

        assert_eq!(refused.code, "cron_invalid");
        assert!(refused.message.contains("nightly"), "{refused}");
    }
}

//! What is done again and again: each slot of a cron expression adds one job,
//! whoever notices it first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use croner::Cron;
use db::{Tx, query};
use jiff::{Timestamp, tz::TimeZone};
use kernel::{Error, Result, Time};

use crate::{
    Job, Options,
    claim::CLOCKS,
    store::{self, Draft},
};

/// A job that repeats. Slots are in UTC. Those that were missed while nobody
/// was there are made up for by one.
pub(crate) struct Schedule {
    name: &'static str,
    text: String,
    cron: Cron,
    draft: Draft,
    seen: Mutex<Seen>,
}

/// What this process knows of a schedule's slot.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// One that was found to be right, and when.
    right: Option<(Time, Time)>,
    /// The last one that was brought forward, and when. Should it come again at
    /// once, somebody's clock is ahead still, and it is left to him for a while.
    brought_forward: Option<(Time, Time)>,
}

impl Schedule {
    pub fn new<J: Job>(name: &'static str, text: &str, job: &J) -> Result<Schedule> {
        let cron: Cron = text.parse().map_err(|error| {
            Error::invalid("cron_invalid", format!("the schedule {name} is no cron expression: {error}"))
        })?;
        let seen = Mutex::default();
        Ok(Schedule { name, text: text.to_owned(), cron, draft: Draft::of(job)?, seen })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether this slot is later than any can be: a clock that was ahead gave it.
    fn is_beyond(&self, slot: Time, now: Time) -> Result<bool> {
        let mut seen = self.seen();
        let is_right = seen.right.is_some_and(|(right, at)| right == slot && at <= now);
        let is_contended =
            seen.brought_forward.is_some_and(|(before, at)| before == slot && at <= now && now < at + CLOCKS);
        if slot <= now + CLOCKS || is_right || is_contended {
            return Ok(false);
        }
        let is_beyond = slot > self.next_after(now + CLOCKS)?;
        if !is_beyond {
            seen.right = Some((slot, now));
        }
        Ok(is_beyond)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The schedules that are known, each with its next slot.
async fn slots(tx: &mut Tx) -> Result<Vec<(String, Time)>> {
    query("SELECT name, next_at FROM schedules ORDER BY name LIMIT 100").fetch_all(tx).await
}

/// Whether one of these waits for a slot that is later than any can be.
pub(crate) async fn is_put_off(tx: &mut Tx, schedules: &[Schedule]) -> Result<bool> {
    if schedules.is_empty() {
        return Ok(false);
    }
    let now = tx.world().now();
    for (name, slot) in slots(tx).await? {
        if let Some(schedule) = schedules.iter().find(|schedule| schedule.name == name)
            && schedule.is_beyond(slot, now)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the jobs whose slot has come, and brings forward slots that are later
/// than any can be. Of several that notice one slot the guarded update lets one
/// do so.
pub(crate) async fn add_due(tx: &mut Tx, schedules: &[Schedule]) -> Result<()> {
    if schedules.is_empty() {
        return Ok(());
    }
    let now = tx.world().now();
    for (name, slot) in slots(tx).await? {
        let Some(schedule) = schedules.iter().find(|schedule| schedule.name == name) else {
            continue; // another version's
        };
        let is_due = slot <= now;
        if !is_due && !schedule.is_beyond(slot, now)? {
            continue;
        }
        let next = schedule.next_after(now)?;
        let taken = query("UPDATE schedules SET next_at = $3 WHERE name = $1 AND next_at = $2")
            .bind(schedule.name)
            .bind(slot)
            .bind(next)
            .execute(tx)
            .await?;
        if taken == 0 {
            continue;
        }
        if is_due {
            let id = store::insert(tx, schedule.draft.clone(), Options::default()).await?;
            tracing::info!(job.id = %id, job.name = schedule.draft.name, schedule = name, %slot, "slot has come");
        } else {
            schedule.seen().brought_forward = Some((slot, now));
            tracing::warn!(schedule = name, %slot, %next, "a clock that was ahead had put this off");
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

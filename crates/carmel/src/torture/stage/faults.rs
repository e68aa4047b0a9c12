//! What is done to the shop.

use std::time::Duration;

use kernel::{Error, Result};

use super::Stage;
use crate::torture::{
    plan::{Fault, Planned},
    wire::Line,
};

/// How long connections are reset of which something was lost.
const AFTER_LOSS: Duration = Duration::from_millis(50);
/// How long a new process waits for the dead one's socket and files, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl Stage {
    /// Does this to it; ends when it is over.
    pub async fn inflict(&self, planned: &Planned) -> Result<()> {
        let span = planned.span;
        match &planned.fault {
            Fault::Kill(name) => self.programs[name].kill(span.min(LONGEST_PAUSE)).await?,
            Fault::Freeze(name) | Fault::Outlive(name) => self.programs[name].freeze(span).await,
            Fault::RefuseWrites(name, bytes) => self.programs[name].refuse_writes(*bytes, span).await,
            Fault::FillDisk(room) => match (&self.disk, &self.postgres) {
                (Some(disk), _) => disk.fill(*room, span).await?,
                (None, Some(postgres)) => postgres.fill_disk(*room, span).await?,
                (None, None) => {}
            },
            Fault::StepClock(name, seconds) => {
                self.step(name, *seconds)?;
                tokio::time::sleep(span).await;
                self.step(name, 0)?;
            }
            Fault::Wire(name, line) => self.disturb(name, *line, span).await,
            Fault::Lose(name, line) => {
                self.disturb(name, *line, span).await;
                self.disturb(name, Line::Reset, AFTER_LOSS).await;
            }
            Fault::FlushRedis(name) => self.redis[name].flush().await,
            Fault::KillRedis(name) => self.redis[name].program.kill(span.min(LONGEST_PAUSE)).await?,
            Fault::FreezeRedis(name) => self.redis[name].program.freeze(span).await,
            Fault::CrashPostgres => {
                if let Some(postgres) = &self.postgres {
                    postgres.crash().await?;
                }
            }
            Fault::CrowdPostgres => {
                if let Some(postgres) = &self.postgres {
                    postgres.crowd(span).await;
                }
            }
            Fault::FailOver => {
                if let Some(postgres) = &self.postgres {
                    postgres.fail_over().await?;
                }
            }
            Fault::FailOverRedis(name) => {
                let master = self.sentinels[name].master().await;
                let is_it = |redis: &&String| Some(self.wires[*redis].address.port()) == master;
                if let Some(redis) = self.redis.keys().find(is_it) {
                    self.redis[redis].stay_away().await?;
                }
            }
            Fault::StopBroker => {
                if let Some(broker) = &self.broker {
                    broker.away()?;
                    tokio::time::sleep(span).await;
                    broker.back()?;
                }
            }
        }
        Ok(())
    }

    async fn disturb(&self, name: &str, line: Line, span: Duration) {
        self.wires[name].set(line);
        tokio::time::sleep(span).await;
        self.wires[name].set(Line::Good);
    }

    /// Sets the clock of a process. Whoever looks sees the old time or the new one.
    fn step(&self, name: &str, seconds: i64) -> Result<()> {
        let (file, new) = (self.clock(name), self.folder.join(format!("{name}.clock.new")));
        std::fs::write(&new, seconds.to_string())
            .and_then(|()| std::fs::rename(&new, &file))
            .map_err(Error::internal)
    }
}

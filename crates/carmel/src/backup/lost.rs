//! What is done in one state of a shop and not in an earlier one.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use contracts::Deed;
use db::Db;
use kernel::{Result, Time};
use serde::Serialize;

/// So much earlier than the backup a deed may say that it was done and be missing
/// there: whoever did it looked at the clock before, and a clock may be set.
const SLACK: Duration = Duration::from_secs(24 * 60 * 60);
/// So many of a kind are told one by one; JSON has all of them.
const TOLD: usize = 3;

/// What is lost by a restore, by kind.
#[derive(Debug, Default, Serialize)]
pub struct Lost {
    /// Deeds in the order of their times.
    #[serde(flatten)]
    kinds: BTreeMap<&'static str, Vec<Deed>>,
    /// Why it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

impl Lost {
    /// What is in the databases of the shop and not in those of a backup that
    /// shows it as it was at that time.
    pub async fn between(here: &[(&str, Db)], backup: &[(&str, Db)], taken_at: Time) -> Result<Lost> {
        let mut lost = Lost::default();
        for ((service, here), (_, backup)) in here.iter().zip(backup) {
            let kept: HashSet<Deed> = deeds(service, backup, taken_at - SLACK).await?.into_iter().collect();
            for deed in deeds(service, here, taken_at - SLACK).await? {
                if !kept.contains(&deed) {
                    lost.kinds.entry(deed.kind).or_default().push(deed);
                }
            }
        }
        lost.kinds.values_mut().for_each(|deeds| deeds.sort());
        Ok(lost)
    }

    /// That it cannot be told.
    pub fn unknown(why: String) -> Lost {
        Lost { unknown: Some(why), ..Lost::default() }
    }

    /// In words, a line each.
    pub fn lines(&self) -> Vec<String> {
        if let Some(why) = &self.unknown {
            return vec![format!(
                "what is lost cannot be told, because what stands here cannot be read: {why}"
            )];
        }
        if self.kinds.is_empty() {
            return vec!["nothing is lost: what is done here is in the backup, too".to_owned()];
        }
        let mut lines = Vec::new();
        for (kind, deeds) in &self.kinds {
            let last = deeds.last().map(|deed| deed.at.to_string()).unwrap_or_default();
            lines.push(format!("lost: {} {kind}, the last at {last}", deeds.len()));
            lines.extend(deeds.iter().rev().take(TOLD).map(|deed| format!("  {} {}", deed.at, deed.what)));
            if deeds.len() > TOLD {
                lines.push("  … (--json has all)".to_owned());
            }
        }
        if self.kinds.contains_key("payments") {
            lines.push(
                "the provider has done what it was asked for and goes on knowing it: pay back there what was taken for \
                 orders that are lost (docs/backup.md)"
                    .to_owned(),
            );
        }
        lines
    }
}

async fn deeds(service: &str, db: &Db, since: Time) -> Result<Vec<Deed>> {
    let mut tx = db.picture().await?;
    match service {
        "users" => users::deeds(&mut tx, since).await,
        "catalog" => catalog::deeds(&mut tx, since).await,
        "inventory" => inventory::deeds(&mut tx, since).await,
        "orders" => orders::deeds(&mut tx, since).await,
        "payments" => payments::deeds(&mut tx, since).await,
        _ => notifications::deeds(&mut tx, since).await,
    }
}

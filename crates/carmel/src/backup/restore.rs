//! `carmel restore`: a backup takes the place of what is there.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use db::{Db, KeptClosed, Target};
use kernel::{Error, Kind, Result, Time, World};
use serde::Serialize;

use super::{
    disk,
    lost::Lost,
    manifest::{Manifest, file},
    postgres::{Wanted, must_be_embedded},
    swap::Swap,
};
use crate::{
    audit,
    config::Config,
    databases::{self, SERVICES},
    relocate,
};

/// Which backup is restored, as the command is told.
#[derive(clap::Args)]
pub struct Source {
    /// The folder of a backup.
    folder: PathBuf,
    /// Does it although there is a shop already, which is kept aside.
    #[arg(long)]
    yes: bool,
    /// Says what it did as JSON, with everything that is lost.
    #[arg(long)]
    json: bool,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
struct Report {
    from: PathBuf,
    taken_at: Time,
    /// Whether it was done; without `--yes` nothing is.
    restored: bool,
    /// Where that is which was there before.
    kept_in: Option<PathBuf>,
    lost: Option<Lost>,
    audit: audit::Report,
}

/// Restores a backup into the folder of these settings, or finishes a restore
/// that was interrupted. The status says whether it was done and is sound.
pub async fn restore(config: &Config, world: &World, from: Source) -> Result<ExitCode> {
    must_be_embedded(config, Wanted::Restore)?;
    let data = &config.data.folder;
    databases::make_folder(data)?;
    relocate::may_open(data)?;
    let closed = keep_closed(data)?;
    let report = match Swap::find(data)? {
        Some(swap) => {
            let kept_in = swap.finish(data, world)?;
            drop(closed);
            let audit = audit::command(config, world, false, true).await?;
            Report { from: swap.from, taken_at: swap.taken_at, restored: true, kept_in, lost: None, audit }
        }
        None => {
            disk::remove_folder(&Swap::stage(data))?;
            let outcome = begin(config, world, &from, closed).await;
            // What has no mark takes nobody's place.
            if Swap::find(data)?.is_none() {
                disk::remove_folder(&Swap::stage(data))?;
            }
            outcome?
        }
    };
    say(&report, from.json)?;
    let is_well = report.restored && report.audit.breaches.is_empty();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at the backup and at what it would replace, and replaces it if that is
/// wanted.
async fn begin(config: &Config, world: &World, from: &Source, closed: Vec<KeptClosed>) -> Result<Report> {
    let data = &config.data.folder;
    let manifest = stage(world, &from.folder, data).await?;
    let mut staged = config.clone();
    staged.data.folder = Swap::stage(data);
    databases::migrate(&staged, world).await?;
    let audit = audit::command(&staged, world, false, true).await?;
    let mut report = Report {
        from: from.folder.clone(),
        taken_at: manifest.taken_at,
        restored: false,
        kept_in: None,
        lost: None,
        audit,
    };
    if SERVICES.iter().any(|service| file(data, service).exists()) {
        let compared = compare(world, data, &closed, manifest.taken_at).await;
        let is_readable = compared.is_ok();
        report.lost = Some(compared.unwrap_or_else(|error| Lost::unknown(error.chain())));
        if !from.yes {
            return Ok(report);
        }
        if is_readable {
            // It goes with what is moved aside, which is a backup then.
            describe(world, data, &closed).await?.write(&Swap::stage(data))?;
        }
    }
    world.reached("restore.staged");
    let now = world.now().to_string().replace(':', "-");
    let swap = Swap {
        from: from.folder.clone(),
        taken_at: manifest.taken_at,
        aside: format!("before-restore-{now}"),
    };
    swap.begin(data)?;
    world.reached("restore.marked");
    report.kept_in = swap.finish(data, world)?;
    report.restored = true;
    drop(closed);
    Ok(report)
}

/// Nobody opens the shop until this is dropped; refuses while anybody has it open.
fn keep_closed(data: &Path) -> Result<Vec<KeptClosed>> {
    SERVICES.iter().map(|service| db::keep_closed(&file(data, service))).collect()
}

/// Copies a backup beside the shop, compares it with its manifest, and brings it
/// up to date.
async fn stage(world: &World, backup: &Path, data: &Path) -> Result<Manifest> {
    let (backup, stage) = (backup.to_owned(), Swap::stage(data));
    world
        .blocking(move || {
            let manifest = Manifest::read(&backup)?;
            disk::make_folder(&stage)?;
            for (service, entry) in &manifest.files {
                let from = file(&backup, service);
                if !from.exists() {
                    return Err(damaged(&from, "is missing".to_owned()));
                }
                let (bytes, sha256) = disk::copy(&from, &file(&stage, service))?;
                if (bytes, &sha256) != (entry.bytes, &entry.sha256) {
                    let what = format!(
                        "has {bytes} bytes with the SHA-256 {sha256}, and was made with {} and {}",
                        entry.bytes, entry.sha256
                    );
                    return Err(damaged(&from, what));
                }
            }
            Ok(manifest)
        })
        .await?
}

fn damaged(path: &Path, what: String) -> Error {
    let message = format!("{} {what}: this backup is damaged, and nothing was changed", path.display());
    Error::new(Kind::Invalid, "backup_damaged", message)
}

/// What is in the shop here and not in the backup.
async fn compare(world: &World, data: &Path, closed: &[KeptClosed], taken_at: Time) -> Result<Lost> {
    let (mut here, mut backup) = (Vec::new(), Vec::new());
    for (service, closed) in SERVICES.iter().zip(closed) {
        let path = file(data, service);
        if !path.exists() {
            return Err(Error::unavailable("storage_failed", format!("{} is missing", path.display())));
        }
        here.push((*service, Db::open_kept(&Target::Sqlite { path }, closed, world).await?));
        let path = file(&Swap::stage(data), service);
        backup.push((*service, Db::open(&Target::Sqlite { path }, world).await?));
    }
    let lost = Lost::between(&here, &backup, taken_at).await;
    for (_, db) in here.iter().chain(&backup) {
        db.close().await;
    }
    lost
}

/// The manifest of the shop here, whose files are whole once nobody has them open.
async fn describe(world: &World, data: &Path, closed: &[KeptClosed]) -> Result<Manifest> {
    let mut files = Vec::new();
    for (service, closed) in SERVICES.iter().zip(closed) {
        let path = file(data, service);
        let db = Db::open_kept(&Target::Sqlite { path: path.clone() }, closed, world).await?;
        let migrations = db.migrations().await?;
        db.close().await;
        files.push((*service, disk::sum(&path)?, migrations));
    }
    Ok(Manifest::of(world.now(), files))
}

fn say(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report).map_err(Error::internal)?);
        return Ok(());
    }
    println!("the backup in {} shows the shop as it was at {}", report.from.display(), report.taken_at);
    report.lost.iter().flat_map(Lost::lines).for_each(|line| println!("{line}"));
    report.audit.breaches.iter().for_each(|line| println!("BREACH {line}"));
    println!("{} breaches in the backup", report.audit.breaches.len());
    if !report.restored {
        println!("nothing was changed: --yes restores it and keeps what is here beside it");
        return Ok(());
    }
    println!("it is restored");
    if let Some(kept) = &report.kept_in {
        println!("what was there before is in {}", kept.display());
    }
    Ok(())
}

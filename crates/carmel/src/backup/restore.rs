//! `carmel restore`: the shop becomes what it was when the backup was made.
//!
//! The copy is put beside the shop's files, checked there, and only then takes
//! their place; they are kept in a folder of their own. From the first file
//! that changes its place to the last one a mark stands in the folder, beside
//! which nobody opens the shop: it would be half of each.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use db::{Db, Target, query_for};
use kernel::{Error, Result, World};
use serde::{Deserialize, Serialize};

use super::{
    failed, file,
    lost::{Lost, Sides},
    manifest::Manifest,
    must_be_embedded, sync,
};
use crate::{
    audit::{self, Past, Report, Terms},
    config::Config,
    databases::SERVICES,
    relocate,
    shop::Shop,
};

/// What became of a restore.
#[derive(Debug)]
pub struct Restored {
    /// What was done and what was lost, in words.
    pub said: Vec<String>,
    /// What the audit of the restored shop says.
    pub report: Report,
}

/// Refuses (`restore_unfinished`) while the folder holds half of a restore.
pub fn may_open(folder: &Path) -> Result<()> {
    let Some(mark) = Mark::find(folder)? else { return Ok(()) };
    let message = format!(
        "a restore of {} was begun in {} and did not end: run `carmel restore {} --replace` again",
        mark.from.display(),
        folder.display(),
        mark.from.display()
    );
    Err(Error::conflict("restore_unfinished", message))
}

/// Puts a backup in the place of the shop in files, or goes on where an
/// earlier run of it ended.
pub async fn restore(config: &Config, world: &World, from: &Path, replace: bool) -> Result<Restored> {
    must_be_embedded(config)?;
    let folder = &config.data.folder;
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    relocate::may_open(folder)?;
    let mut said = Vec::new();
    if Mark::find(folder)?.is_none() {
        let manifest = Manifest::check(from)?;
        let is_there = SERVICES.iter().any(|service| file(folder, service).exists());
        if is_there && !replace {
            let message = format!(
                "there is a shop in {} (data.folder); --replace puts the backup in its place and keeps its \
                 files in a folder there",
                folder.display()
            );
            return Err(Error::conflict("shop_exists", message));
        }
        let staged = staged(folder);
        stage(from, &staged)?;
        let copy = open(&staged, world, false).await?;
        check(&copy).await?;
        if is_there {
            said.extend(what_is_lost(folder, &copy, world).await?);
        }
        close(&copy).await;
        let kept = is_there.then(|| format!("before-restore-{}", world.now().micros()));
        said.insert(0, format!("the shop is as it was at {}", manifest.made_at));
        Mark { from: from.to_owned(), kept, said: said.clone() }.write(folder)?;
        world.reached("restore.marked");
    }
    said.extend(swap(folder, world)?);
    let report = look(config, world).await?;
    Ok(Restored { said, report })
}

/// The copy while it is checked.
fn staged(folder: &Path) -> PathBuf {
    folder.join("restoring")
}

fn stage(from: &Path, staged: &Path) -> Result<()> {
    if staged.exists() {
        fs::remove_dir_all(staged).map_err(|error| failed(staged, error))?;
    }
    fs::create_dir_all(staged).map_err(|error| failed(staged, error))?;
    for service in SERVICES {
        let (here, there) = (file(from, service), file(staged, service));
        fs::copy(&here, &there)
            .and_then(|_| File::options().write(true).open(&there)?.sync_all())
            .map_err(|error| failed(&there, error))?;
    }
    sync(staged)
}

async fn open(folder: &Path, world: &World, alone: bool) -> Result<Vec<(&'static str, Db)>> {
    let mut databases = Vec::with_capacity(SERVICES.len());
    for service in SERVICES {
        let target = Target::Sqlite { path: file(folder, service) };
        let opened =
            if alone { Db::open_alone(&target, world).await? } else { Db::open(&target, world).await? };
        databases.push((*service, opened));
    }
    Ok(databases)
}

async fn close(databases: &[(&'static str, Db)]) {
    for (_, db) in databases {
        db.close().await;
    }
}

/// Whether each file is whole, as SQLite sees it.
async fn check(databases: &[(&'static str, Db)]) -> Result<()> {
    for (service, db) in databases {
        let mut tx = db.picture().await?;
        let (found,): (String,) =
            query_for("PRAGMA quick_check(1)", "SELECT 'ok'").fetch_one(&mut tx).await?;
        if found != "ok" {
            return Err(Error::conflict("backup_damaged", format!("{service}.db is damaged: {found}")));
        }
    }
    Ok(())
}

/// What the shop that is there has and the backup has not. Fails while it runs.
async fn what_is_lost(folder: &Path, copy: &[(&'static str, Db)], world: &World) -> Result<Vec<String>> {
    let compared = async {
        let now = open(folder, world, true).await?;
        let of = |databases: &[(&'static str, Db)], name: &str| {
            databases.iter().find(|(service, _)| *service == name).map(|(_, db)| db.clone()).expect("all are open")
        };
        let (orders, payments) = (of(&now, "orders"), of(&now, "payments"));
        let (old_orders, old_payments) = (of(copy, "orders"), of(copy, "payments"));
        let sides = Sides { orders: (&orders, &old_orders), payments: (&payments, &old_payments) };
        let lost = Lost::between(sides).await;
        close(&now).await;
        lost
    };
    match compared.await {
        Ok(lost) if lost.sentences().is_empty() => Ok(vec!["no order and no payment is lost by that".into()]),
        Ok(lost) => Ok(lost.sentences().into_iter().map(|lost| format!("lost: {lost}")).collect()),
        Err(error) if error.code == "database_in_use" => Err(error),
        // A restore may be needed because of just that.
        Err(error) => Ok(vec![format!("what is there cannot be compared with the backup: {}", error.chain())]),
    }
}

/// Lets the checked copy take the place of the files. What was done by an
/// earlier run is not done again.
fn swap(folder: &Path, world: &World) -> Result<Vec<String>> {
    let Some(mark) = Mark::find(folder)? else { return Ok(Vec::new()) };
    let mut closed = Vec::with_capacity(SERVICES.len());
    for service in SERVICES {
        closed.push(db::keep_closed(&file(folder, service))?);
    }
    let (staged, kept) = (staged(folder), mark.kept.as_ref().map(|kept| folder.join(kept)));
    if let Some(kept) = &kept {
        fs::create_dir_all(kept).map_err(|error| failed(kept, error))?;
    }
    for service in SERVICES {
        let (new, here) = (file(&staged, service), file(folder, service));
        if !new.exists() {
            continue; // it is in its place
        }
        // The log first: without its file it says nothing, beside another it would say something wrong.
        for beside in ["-wal", "-shm", ""] {
            let name = format!("{service}.db{beside}");
            let old = folder.join(&name);
            if let Some(kept) = kept.as_ref().filter(|_| old.exists()) {
                fs::rename(&old, kept.join(&name)).map_err(|error| failed(&old, error))?;
            }
        }
        fs::rename(&new, &here).map_err(|error| failed(&here, error))?;
        world.reached(&format!("restore.{service}"));
    }
    sync(folder)?;
    fs::remove_dir_all(&staged).map_err(|error| failed(&staged, error))?;
    Mark::remove(folder)?;
    drop(closed);
    Ok(kept.map(|kept| format!("the files that were there are in {}", kept.display())).into_iter().collect())
}

/// Audits the restored shop by the time of the backup.
async fn look(config: &Config, world: &World) -> Result<Report> {
    let past = Past::new(world);
    let shop = Shop::open(config, &past.world()).await?;
    past.set_back(&shop).await?;
    let report = audit::audit_by(&shop, Terms::of(config)).await;
    shop.close().await;
    report
}

/// The mark in the folder of a shop of which some files may be the backup's and
/// some not.
#[derive(Debug, Deserialize, Serialize)]
struct Mark {
    from: PathBuf,
    kept: Option<String>,
    said: Vec<String>,
}

impl Mark {
    fn path(folder: &Path) -> PathBuf {
        folder.join("restoring.toml")
    }

    fn find(folder: &Path) -> Result<Option<Mark>> {
        let path = Mark::path(folder);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(Error::internal),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(Error::internal)?;
        let (path, beside) = (Mark::path(folder), folder.join("restoring.toml.new"));
        fs::write(&beside, text)
            .and_then(|()| File::open(&beside)?.sync_all())
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|error| failed(&path, error))?;
        sync(folder)
    }

    fn remove(folder: &Path) -> Result<()> {
        let path = Mark::path(folder);
        fs::remove_file(&path).map_err(|error| failed(&path, error))?;
        sync(folder)
    }
}

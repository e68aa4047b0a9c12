//! A small disk of its own, which can be full: a file system in memory that
//! only those see who enter its namespace. It is gone with the last of them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use kernel::{Error, Result};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::program;

/// Its size. What is not written takes no memory.
const SIZE: &str = "8g";

/// A disk, mounted on a folder.
pub struct Disk {
    /// The process whose namespace it is in.
    pub keeper: u32,
    folder: PathBuf,
    _keeping: Child,
}

impl Disk {
    /// Mounts one on this folder; nothing where we may not: that takes root.
    pub async fn on(folder: &Path) -> Result<Option<Disk>> {
        if !program::is_root() || program::installed("nsenter").is_none() {
            return Ok(None);
        }
        // It belongs to `nobody`, as whom PostgreSQL runs.
        let script = format!(
            "mount -t tmpfs -o size={SIZE},mode=755,uid=65534,gid=65534 tmpfs \"$0\" && echo mounted && exec sleep infinity"
        );
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private"]);
        command.args(["--", "sh", "-c", &script]).arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut keeping = command.spawn().map_err(Error::internal)?;
        let mut said = String::new();
        if let Some(output) = keeping.stdout.take() {
            BufReader::new(output).read_line(&mut said).await.map_err(Error::internal)?;
        }
        let keeper = keeping.id().filter(|_| said == "mounted\n");
        Ok(keeper.map(|keeper| Disk { keeper, folder: folder.to_owned(), _keeping: keeping }))
    }

    /// Where it is seen from outside.
    pub fn seen(&self) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        PathBuf::from(format!("/proc/{}/root", self.keeper)).join(inside)
    }

    /// For so long there is room for so many KiB more on it, and then for nothing.
    pub async fn fill(&self, room: u64, span: Duration) -> Result<()> {
        // It may grow between the look and the change, which is refused then.
        let shrink = format!(
            "for i in 1 2 3 4 5; do used=$(df -k --output=used \"$0\" | tail -1); \
             mount -o remount,size=$((used + {room}))k \"$0\" 2>/dev/null && exit 0; done; exit 1"
        );
        let is_full = self.run(&shrink).await?;
        tokio::time::sleep(span).await;
        if is_full && !self.run(&format!("mount -o remount,size={SIZE} \"$0\"")).await? {
            let message = format!("{} stays full", self.folder.display());
            return Err(Error::unavailable("disk_stays_full", message));
        }
        Ok(())
    }

    /// Copies what is on it into the folder itself, for whoever wants to look at it.
    pub async fn bring_out(&self) -> Result<()> {
        let copied = Command::new("cp").arg("-a").arg(self.seen().join(".")).arg(&self.folder).status().await;
        match copied.map_err(Error::internal)?.success() {
            true => Ok(()),
            false => Err(Error::unavailable("not_copied", format!("{} stays empty", self.folder.display()))),
        }
    }

    async fn run(&self, script: &str) -> Result<bool> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.keeper)).args(["--", "sh", "-c", script]);
        Ok(command.arg(&self.folder).status().await.map_err(Error::internal)?.success())
    }
}

//! How `carmel reload` reaches the fleet: a socket in its data folder. Who may
//! write there may ask.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use kernel::{Error, Kind, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

use super::keep::Kept;

const RELOAD: &str = "reload";
/// The last line of an answer when all went well.
const DONE: &str = "done";

/// The socket of a fleet; gone when it is dropped.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket is gone already");
        }
    }
}

impl Control {
    /// Opens it. Fails (`fleet_is_up`) when a fleet runs from this folder.
    pub async fn open(folder: &Path) -> Result<Control> {
        std::fs::create_dir_all(folder).map_err(Error::internal)?;
        let path = place(folder);
        if UnixStream::connect(&path).await.is_ok() {
            let message = format!("a fleet runs from {} already (data.folder)", folder.display());
            return Err(Error::new(Kind::Unavailable, "fleet_is_up", message));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::internal(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(|error| {
            let message = format!("the socket {} cannot be opened: {error}", path.display());
            Error::new(Kind::Invalid, "control_socket", message)
        })?;
        Ok(Control { listener, path })
    }

    /// Does what is asked, one request after the other, until `stop` is cancelled.
    pub async fn serve(self, fleet: Arc<Vec<Kept>>, stop: CancellationToken) {
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            let outcome = match accepted {
                Ok((stream, _)) => answer(stream, &fleet).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "who asked for a reload was not told how it went");
            }
        }
    }
}

async fn answer(stream: UnixStream, fleet: &[Kept]) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut asked = String::new();
    stream.read_line(&mut asked).await?;
    if asked.trim() != RELOAD {
        return stream
            .write_all(format!("{asked:?} is not understood; {RELOAD} would be\n").as_bytes())
            .await;
    }
    for process in fleet {
        if let Err(error) = process.replace().await {
            let line = format!("{}: {}; those after it were not replaced\n", process.name, error.chain());
            return stream.write_all(line.as_bytes()).await;
        }
        tracing::info!(process = process.name, "replaced");
        stream.write_all(format!("{} replaced\n", process.name).as_bytes()).await?;
    }
    stream.write_all(format!("{DONE}\n").as_bytes()).await
}

/// Asks the fleet of this data folder to replace its processes one by one, and
/// tells line by line how it goes. Fails when no fleet is there
/// (`fleet_is_down`) or one of them cannot be replaced (`reload_failed`).
pub async fn reload(folder: &Path, mut tell: impl FnMut(&str)) -> Result<()> {
    let down = |error: std::io::Error| {
        let message = format!("no fleet (carmel up) runs from {} (data.folder)", folder.display());
        Error::unavailable("fleet_is_down", message).because(error)
    };
    let mut stream = UnixStream::connect(place(folder)).await.map_err(down)?;
    stream.write_all(format!("{RELOAD}\n").as_bytes()).await.map_err(down)?;
    let mut lines = BufReader::new(stream).lines();
    let mut last = "the fleet has ended".to_owned();
    while let Some(line) = lines.next_line().await.map_err(Error::internal)? {
        if line == DONE {
            return Ok(());
        }
        tell(&line);
        last = line;
    }
    Err(Error::unavailable("reload_failed", last))
}

fn place(folder: &Path) -> PathBuf {
    folder.join("up.sock")
}

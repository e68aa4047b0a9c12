//! One process of a local fleet: started, heard, asked to finish.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use kernel::{Error, Kind, Result, World};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdin, Command},
    sync::oneshot,
};

use super::keep::Keeper;

/// What a supervised process says on its standard output when it is ready.
pub const READY: &str = "ready";
/// The socket that a process inherits is its file descriptor 3, as systemd
/// passes them (sd_listen_fds(3)).
const FIRST_SOCKET: i32 = 3;
/// How long a process may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running process. It finishes when its standard input is closed, so it
/// does so, too, when the one who started it dies.
pub struct Process {
    child: Child,
    /// Closed to let it finish.
    input: Option<ChildStdin>,
    ready: Option<oneshot::Receiver<()>>,
}

impl Process {
    /// Starts the one that this keeper keeps.
    pub fn start(keeper: &Keeper) -> Result<Process> {
        let Keeper { slot, program, world, .. } = keeper;
        let mut command = Command::new(program);
        command.args([slot.command, "--supervised", "--only", slot.part.as_str()]).args(&keeper.settings);
        command.envs(keeper.secrets.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal goes to all of a group: only the supervisor is to hear it.
        command.process_group(0).kill_on_drop(true);
        if let Some(socket) = &keeper.socket {
            let parent_fd = socket.try_clone().map_err(Error::internal)?.into();
            let mapping = FdMapping { parent_fd, child_fd: FIRST_SOCKET };
            command.as_std_mut().fd_mappings(vec![mapping]).map_err(Error::internal)?;
            command.env("LISTEN_FDS", "1").env_remove("LISTEN_PID");
        }
        let mut child = command.spawn().map_err(|error| {
            let message = format!("{} cannot be started from {}: {error}", slot.name, program.display());
            Error::new(Kind::Unavailable, "process_not_started", message)
        })?;
        let (says_ready, ready) = oneshot::channel();
        let (output, log) = (child.stdout.take(), child.stderr.take());
        drop(world.spawn(copy(slot.name.clone(), output, Some(says_ready))));
        drop(world.spawn(copy(slot.name.clone(), log, None)));
        Ok(Process { input: child.stdin.take(), child, ready: Some(ready) })
    }

    /// Waits until it is ready. Fails when it ends before, or takes too long.
    pub async fn ready(&mut self, name: &str, world: &World) -> Result<()> {
        let Some(ready) = self.ready.take() else { return Ok(()) };
        let outcome = world.timeout(PATIENCE, ready).await;
        let why = match outcome {
            Some(Ok(())) => return Ok(()),
            Some(Err(_)) => "ended before it was ready".to_owned(),
            None => format!("is not ready after {} s", PATIENCE.as_secs()),
        };
        Err(Error::unavailable("process_not_ready", format!("{name} {why}; its log says more")))
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.map_err(Error::internal)
    }

    /// Lets it finish what is under way; what takes longer than that is cut off.
    pub async fn finish(mut self, name: &str, within: Duration, world: &World) {
        drop(self.input.take());
        if world.timeout(within, self.child.wait()).await.is_none() {
            tracing::warn!(process = name, "did not finish in time and was cut off");
            if let Err(error) = self.child.kill().await {
                tracing::warn!(process = name, %error, "could not be ended");
            }
        }
    }
}

/// Passes on what a process says, each line with its name; the first line that
/// says so makes it ready.
async fn copy(name: String, said: Option<impl AsyncRead + Unpin>, mut ready: Option<oneshot::Sender<()>>) {
    let Some(said) = said else { return };
    let mut lines = BufReader::new(said).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == READY
            && let Some(ready) = ready.take()
        {
            // Nobody waits for it any more when it was replaced in the meantime.
            ready.send(()).ok();
            continue;
        }
        eprintln!("{}", named(&name, &line));
    }
}

/// A line with the name of who said it: as a field where the line is JSON.
fn named(name: &str, line: &str) -> String {
    match line.strip_prefix('{') {
        Some(rest) => format!("{{\"process\":\"{name}\",{rest}"),
        None => format!("{name:<16} {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_said_it_and_stays_json() {
        let line = named("orders-1", r#"{"level":"INFO","message":"open"}"#);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["process"], &read["level"]), (&"orders-1".into(), &"INFO".into()));
        assert_eq!(named("users-1", "INFO open"), "users-1          INFO open");
    }
}

//! Keeps one process of a local fleet running.

use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use kernel::{Error, Result, World};
use tokio::sync::{mpsc, oneshot, watch};

use super::{plan::Slot, process::Process};
use crate::part::Part;

/// The wait before what died is started again; each that follows, twice as long …
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// … but no longer than this …
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// … and the first again for one that has lived so long.
const LIVED_WELL: Duration = Duration::from_secs(10);

/// What it takes to run a process of the fleet.
pub struct Keeper {
    /// Which.
    pub slot: Slot,
    /// Where it listens: open as long as the fleet is, whoever runs.
    pub socket: Option<Arc<TcpListener>>,
    /// The program.
    pub program: PathBuf,
    /// Its settings, for its command line …
    pub settings: Vec<String>,
    /// … and those for its environment, because all may see a command line.
    pub secrets: Vec<(&'static str, String)>,
    /// How long it may take to finish what is under way.
    pub finish_within: Duration,
    /// Whether the next one may run while this one finishes. (A SQLite file is
    /// one process's own.)
    pub may_overlap: bool,
    pub world: World,
}

/// A process that is kept running.
pub struct Kept {
    /// What it is called: `orders-2`.
    pub name: String,
    /// What runs in it.
    pub part: Part,
    orders: mpsc::Sender<Order>,
    ready: watch::Receiver<bool>,
}

enum Order {
    /// Puts a new process in its place.
    Replace(oneshot::Sender<Result<()>>),
    /// Finishes, and says when it has.
    Stop(oneshot::Sender<()>),
}

/// Why a process is not watched any more.
enum End {
    Died,
    Stopped(oneshot::Sender<()>),
}

impl Keeper {
    /// Starts it, and starts it again whenever it ends.
    pub fn start(self) -> Kept {
        let (orders, ordered) = mpsc::channel(8);
        let (says_ready, ready) = watch::channel(false);
        let kept = Kept { name: self.slot.name.clone(), part: self.slot.part, orders, ready };
        let world = self.world.clone();
        drop(world.spawn(self.keep(ordered, says_ready)));
        kept
    }

    async fn keep(self, mut orders: mpsc::Receiver<Order>, ready: watch::Sender<bool>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = self.world.now();
            let end = tokio::select! {
                started = self.start_one() => match started {
                    Ok(process) => {
                        ready.send_replace(true);
                        self.watch(process, &mut orders).await
                    }
                    Err(error) => {
                        tracing::error!(process = self.slot.name, error = error.chain(), "not started");
                        End::Died
                    }
                },
                stopped = stop(&mut orders) => stopped,
            };
            ready.send_replace(false);
            if let End::Stopped(done) = end {
                done.send(()).ok();
                return;
            }
            if self.world.now().since(began) >= LIVED_WELL {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                () = self.world.sleep(self.world.jitter(pause)) => {}
                stopped = stop(&mut orders) => {
                    if let End::Stopped(done) = stopped {
                        done.send(()).ok();
                    }
                    return;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Watches a process, and whatever takes its place, until it ends.
    async fn watch(&self, mut process: Process, orders: &mut mpsc::Receiver<Order>) -> End {
        let name = self.slot.name.as_str();
        loop {
            tokio::select! {
                status = process.ended() => {
                    let status = status.map_or_else(|error| error.chain(), |status| status.to_string());
                    tracing::error!(process = name, status, "died and is started again");
                    return End::Died;
                }
                order = orders.recv() => match order {
                    Some(Order::Stop(done)) => {
                        process.finish(name, self.finish_within, &self.world).await;
                        return End::Stopped(done);
                    }
                    Some(Order::Replace(answer)) => match self.replace(process).await {
                        Ok(next) => {
                            process = next;
                            drop(answer.send(Ok(())));
                        }
                        Err((Some(old), error)) => {
                            process = old;
                            drop(answer.send(Err(error)));
                        }
                        Err((None, error)) => {
                            drop(answer.send(Err(error)));
                            return End::Died;
                        }
                    },
                    // Whoever could order is gone, and the process ends with them.
                    None => return End::Died,
                },
            }
        }
    }

    /// Puts a new process in the place of this one. When the new one does not
    /// become ready, the old one goes on if it still can.
    async fn replace(&self, old: Process) -> Result<Process, (Option<Process>, Error)> {
        let name = self.slot.name.as_str();
        if !self.may_overlap {
            old.finish(name, self.finish_within, &self.world).await;
            return self.start_one().await.map_err(|error| (None, error));
        }
        match self.start_one().await {
            Ok(next) => {
                old.finish(name, self.finish_within, &self.world).await;
                Ok(next)
            }
            Err(error) => Err((Some(old), error)),
        }
    }

    /// Starts one and waits until it is ready.
    async fn start_one(&self) -> Result<Process> {
        let mut process = Process::start(self)?;
        process.ready(&self.slot.name, &self.world).await?;
        Ok(process)
    }
}

/// Waits for the order to stop. There is nothing to replace at the moment.
async fn stop(orders: &mut mpsc::Receiver<Order>) -> End {
    loop {
        match orders.recv().await {
            Some(Order::Stop(done)) => return End::Stopped(done),
            Some(Order::Replace(answer)) => {
                let message = "it is being started at this moment";
                drop(answer.send(Err(Error::unavailable("process_not_ready", message))));
            }
            None => std::future::pending().await,
        }
    }
}

impl Kept {
    /// Waits until it is ready for the first time.
    pub async fn is_ready(&self) {
        // It cannot fail as long as the process is kept.
        drop(self.ready.clone().wait_for(|ready| *ready).await);
    }

    /// Puts a new process in its place: the new one is ready before the old one
    /// finishes what is under way.
    pub async fn replace(&self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::unavailable("process_not_ready", format!("{} is not kept any more", self.name));
        self.orders.send(Order::Replace(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Lets it finish what is under way.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).await.is_ok() {
            // Gone without a word is stopped, too.
            drop(stopped.await);
        }
    }
}

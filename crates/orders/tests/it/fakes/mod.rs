//! Services elsewhere, as structs that behave: stock, holds, marks and money
//! behind a lock, and switches for what can go wrong on the way to them.

mod bank;
mod catalog;
mod warehouse;

pub use bank::Bank;
pub use catalog::FakeCatalog;
pub use warehouse::Warehouse;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use kernel::{Error, Kind, Result};
use tokio::sync::Semaphore;

/// What goes wrong with one call.
pub enum Fault {
    /// It never arrives.
    AskLost,
    /// It has its effect, but the answer never comes.
    AnswerLost,
    /// It is thought lost and arrives when the test says so.
    Late,
    /// It arrives when the test says so; until then whoever asked waits at this gate.
    OnItsWay(Arc<Gate>),
    /// It waits at this gate before it has its effect.
    Before(Arc<Gate>),
    /// It has its effect and waits at this gate before it answers.
    After(Arc<Gate>),
}

/// A gate that a call waits at until the test opens it.
pub struct Gate {
    reached: Semaphore,
    open: Semaphore,
}

impl Gate {
    pub fn new() -> Arc<Gate> {
        Arc::new(Gate { reached: Semaphore::new(0), open: Semaphore::new(0) })
    }

    /// Ends when a call waits here.
    pub async fn reached(&self) {
        let reached = tokio::time::timeout(Duration::from_secs(20), self.reached.acquire()).await;
        reached.expect("no call came to the gate").unwrap().forget();
    }

    pub fn open(&self) {
        self.open.add_permits(1);
    }

    async fn pass(&self) {
        self.reached.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }
}

type LateCall<S> = Box<dyn FnOnce(&mut S) -> Result<()> + Send>;

/// The way to a service whose state is `S`.
pub struct Wire<S> {
    state: Mutex<S>,
    faults: Mutex<HashMap<&'static str, VecDeque<Fault>>>,
    late: Mutex<Vec<LateCall<S>>>,
    asked: Mutex<HashMap<&'static str, usize>>,
}

impl<S: Send> Wire<S> {
    pub fn new(state: S) -> Wire<S> {
        Wire {
            state: Mutex::new(state),
            faults: Mutex::default(),
            late: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// The next call of that name goes wrong so; said twice, the next two.
    pub fn fault(&self, call: &'static str, fault: Fault) {
        self.faults.lock().unwrap().entry(call).or_default().push_back(fault);
    }

    /// Calls of that name go well again.
    pub fn heal(&self, call: &'static str) {
        self.faults.lock().unwrap().remove(call);
    }

    /// How often it was asked for.
    pub fn asked(&self, call: &str) -> usize {
        self.asked.lock().unwrap().get(call).copied().unwrap_or_default()
    }

    pub fn look<T>(&self, look: impl FnOnce(&mut S) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// What is late arrives now; returns what it was answered, as codes.
    pub fn late_calls_arrive(&self) -> Vec<String> {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        let answer = |call: LateCall<S>| {
            self.look(call).map_or_else(|error| error.code.into_owned(), |()| "ok".into())
        };
        late.into_iter().map(answer).collect()
    }

    pub async fn call<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut S) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        *self.asked.lock().unwrap().entry(name).or_default() += 1;
        let fault = self.faults.lock().unwrap().get_mut(name).and_then(VecDeque::pop_front);
        let lost = || Error::new(Kind::TimedOut, "timed_out", format!("{name} took too long"));
        match fault {
            None => self.look(effect),
            Some(Fault::AskLost) => {
                Err(Error::unavailable("service_unreachable", format!("{name} cannot be reached")))
            }
            Some(Fault::AnswerLost) => self.look(effect).and_then(|_| Err(lost())),
            Some(Fault::Late) => {
                self.late.lock().unwrap().push(Box::new(|state| effect(state).map(drop)));
                Err(lost())
            }
            Some(Fault::OnItsWay(gate)) => {
                self.late.lock().unwrap().push(Box::new(|state| effect(state).map(drop)));
                gate.pass().await;
                Err(lost())
            }
            Some(Fault::Before(gate)) => {
                gate.pass().await;
                self.look(effect)
            }
            Some(Fault::After(gate)) => {
                let answer = self.look(effect);
                gate.pass().await;
                answer
            }
        }
    }
}

//! Somebody who talks to a shop that may die at any moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel::{Error, Result};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

/// How long an answer is waited for; then its outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(4);
/// The pause before the same is asked again.
const PAUSE: Duration = Duration::from_millis(150);
/// So often is asked again for what must be answered.
const TIMES: usize = 200;

/// The door of the shop, and what went through it.
pub struct Door {
    http: reqwest::Client,
    url: String,
    /// Requests by kind.
    pub requests: Mutex<BTreeMap<&'static str, Counts>>,
    /// Unknown outcomes, by how they were resolved.
    pub resolved: Mutex<BTreeMap<&'static str, u64>>,
    /// When the latest change was asked for that was done.
    last_done: watch::Sender<Instant>,
    names: AtomicU64,
}

/// How requests of one kind ended.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    /// Answered with 2xx.
    pub done: u64,
    /// Refused for good, with 4xx.
    pub refused: u64,
    /// Not answered, or with an answer that leaves it open.
    pub unknown: u64,
}

/// A request that may be sent again.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What it is called in a report.
    pub kind: &'static str,
    pub method: Method,
    pub path: String,
    /// Makes its repetition harmless.
    pub key: Option<String>,
    pub body: Option<Value>,
    /// By nobody in particular: a key is its asker's own, so whoever asks again must be the same.
    pub as_stranger: bool,
}

/// What was answered.
#[derive(Clone, Debug)]
pub enum Said {
    /// It is done: the body, and whether it had been done before.
    Done(Value, bool),
    /// It is refused for good, with this code.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

impl Ask {
    /// Looks at something.
    pub fn get(kind: &'static str, path: impl Into<String>) -> Ask {
        Ask { kind, method: Method::GET, path: path.into(), key: None, body: None, as_stranger: false }
    }

    /// Asks for a change, under a key.
    pub fn change(
        kind: &'static str,
        method: Method,
        path: impl Into<String>,
        key: &str,
        body: Value,
    ) -> Ask {
        Ask {
            kind,
            method,
            path: path.into(),
            key: Some(key.to_owned()),
            body: Some(body),
            as_stranger: false,
        }
    }
}

impl Door {
    /// The one at this address.
    pub fn at(url: &str) -> Result<Door> {
        let http =
            reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().map_err(Error::internal)?;
        Ok(Door {
            http,
            url: url.to_owned(),
            requests: Mutex::default(),
            resolved: Mutex::default(),
            last_done: watch::channel(Instant::now()).0,
            names: AtomicU64::new(0),
        })
    }

    /// A name that nothing else of this run has.
    pub fn fresh(&self, what: &str) -> String {
        format!("{what}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until a change is done that is asked for from now on.
    pub async fn works_again(&self) -> Duration {
        let from = Instant::now();
        let done = self.last_done.subscribe().wait_for(|began| *began >= from).await.map(|_| ());
        debug_assert!(done.is_ok(), "the sender is a field of this very door");
        from.elapsed()
    }

    /// Whether the shop says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Asks once: the status as well, 0 when there was none.
    async fn ask(&self, ask: &Ask, token: Option<&str>) -> (u16, Said) {
        let began = Instant::now();
        let mut request = self.http.request(ask.method.clone(), format!("{}{}", self.url, ask.path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(key) = &ask.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let answered = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            let replayed = answer.headers().contains_key("idempotent-replayed");
            Ok::<_, reqwest::Error>((status, replayed, answer.bytes().await?))
        };
        let Ok((status, replayed, body)) = answered.await else { return (0, Said::Unknown) };
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = body["code"].as_str().unwrap_or_default();
        let said = match status {
            200..300 => {
                if ask.key.is_some() {
                    self.last_done.send_if_modified(|last| {
                        let is_later = began > *last;
                        *last = began.max(*last);
                        is_later
                    });
                }
                Said::Done(body, replayed)
            }
            408 | 425 | 429 | 500.. => Said::Unknown,
            _ if code == "request_in_progress" => Said::Unknown,
            _ => Said::Refused(code.to_owned()),
        };
        (status, said)
    }

    /// How many requests of this kind were not answered so far.
    pub fn unknown(&self, kind: &str) -> u64 {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get(kind).map_or(0, |counts| counts.unknown)
    }

    fn count(&self, kind: &'static str, said: &Said) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = requests.entry(kind).or_default();
        match said {
            Said::Done(..) => counts.done += 1,
            Said::Refused(_) => counts.refused += 1,
            Said::Unknown => counts.unknown += 1,
        }
    }

    fn count_resolved(&self, said: &Said) {
        let how = match said {
            Said::Done(_, true) => "had been done",
            Said::Done(_, false) => "done when asked again",
            Said::Refused(_) => "refused when asked again",
            Said::Unknown => return,
        };
        *self.resolved.lock().unwrap_or_else(PoisonError::into_inner).entry(how).or_default() += 1;
    }
}

/// Somebody with an account.
pub struct Person {
    pub door: Arc<Door>,
    /// `usr_…`, once signed in.
    pub id: String,
    email: String,
    password: String,
    token: Option<String>,
}

impl Person {
    /// Somebody who has not signed in yet.
    pub fn new(door: &Arc<Door>, email: &str, password: &str) -> Person {
        Person {
            door: door.clone(),
            id: String::new(),
            email: email.to_owned(),
            password: password.to_owned(),
            token: None,
        }
    }

    /// The same person, asking beside himself.
    pub fn again(&self) -> Person {
        let Person { door, id, email, password, token } = self;
        Person {
            door: door.clone(),
            id: id.clone(),
            email: email.clone(),
            password: password.clone(),
            token: token.clone(),
        }
    }

    /// Signs in. Whether it worked.
    pub async fn sign_in(&mut self) -> bool {
        let body = json!({ "email": self.email, "password": self.password });
        let ask = Ask {
            kind: "sign in",
            method: Method::POST,
            path: "/login".into(),
            key: None,
            body: Some(body),
            as_stranger: true,
        };
        let (_, said) = self.door.ask(&ask, None).await;
        self.door.count(ask.kind, &said);
        let Said::Done(answer, _) = said else { return false };
        self.id = answer["user"]["id"].as_str().unwrap_or_default().to_owned();
        self.token = answer["access_token"].as_str().map(str::to_owned);
        self.token.is_some()
    }

    /// Asks once. Who is not known any more signs in and asks again.
    pub async fn ask(&mut self, ask: &Ask) -> Said {
        if !ask.as_stranger && self.token.is_none() && !self.sign_in().await {
            return Said::Unknown;
        }
        let token = self.token.as_deref().filter(|_| !ask.as_stranger);
        let (status, said) = self.door.ask(ask, token).await;
        if status == 401 {
            self.token = None; // it is over its time
            self.door.count(ask.kind, &Said::Unknown);
            return Said::Unknown;
        }
        self.door.count(ask.kind, &said);
        said
    }

    /// Asks until there is an answer, at most so often. What was unknown at
    /// first counts as resolved by the answer.
    pub async fn insist(&mut self, ask: &Ask, times: usize, was_unknown: bool) -> Said {
        let mut was_unknown = was_unknown;
        for _ in 0..times {
            let said = self.ask(ask).await;
            if !matches!(said, Said::Unknown) {
                if was_unknown && ask.key.is_some() {
                    self.door.count_resolved(&said);
                }
                return said;
            }
            was_unknown = true;
            tokio::time::sleep(PAUSE).await;
        }
        Said::Unknown
    }

    /// Looks at, or does, what must succeed; asks for up to a minute.
    pub async fn must(&mut self, ask: &Ask) -> Result<Value> {
        let what = format!("{} {}", ask.method, ask.path);
        match self.insist(ask, TIMES, false).await {
            Said::Done(body, _) => Ok(body),
            Said::Refused(code) => Err(Error::unavailable("refused", format!("{what} was refused: {code}"))),
            Said::Unknown => Err(Error::unavailable("no_answer", format!("{what} was never answered"))),
        }
    }

    /// Looks at something that may not be there: nothing then.
    pub async fn find(&mut self, ask: &Ask) -> Result<Value> {
        match self.insist(ask, TIMES, false).await {
            Said::Done(body, _) => Ok(body),
            Said::Refused(_) => Ok(Value::Null),
            Said::Unknown => Err(Error::unavailable(
                "no_answer",
                format!("{} {} was never answered", ask.method, ask.path),
            )),
        }
    }
}

//! Every setting there is, with its default, its sentence and its rule. The
//! loader, `carmel config print`, the reference page and the sample file all
//! come from this list.

use std::path::PathBuf;

use kernel::{Currency, words};

use super::{
    declare::{Key, accept, settings},
    kind::{
        Kind, addresses, brokers, folder, levels, mail_address, networks, not_empty, origins, redis_or_empty,
        service_token_or_empty, url_or_empty, urls_or_empty, webhook_secret_or_empty, within,
    },
    secret::Secret,
};
use crate::part::Part;

settings! {
    /// Where and how requests are answered.
    server: Server {
        /// The address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for every network it is in.
        host: String = "127.0.0.1".into(), not_empty();
        /// The port to listen on; 0 takes any that is free.
        port: u16 = 3000;
        /// How long a request may take before it is answered with 504; `Prefer: wait` may ask for up to 30 seconds.
        request_timeout_ms: u64 = 35_000, within(100..=600_000);
        /// How large the body of a request may be; a larger one is answered with 413.
        body_limit_bytes: u64 = 1_048_576, within(1_024..=104_857_600);
        /// How much is worked on at once for other services; the rest waits in line, or is refused when the line stays.
        work_at_once: u32 = 256, within(1..=100_000);
        /// How long requests are still taken after SIGTERM, when readiness has fallen already: so long as a balancer takes to notice.
        drain_delay_ms: u64 = 0, within(0..=600_000);
        /// How long running requests and jobs may take to finish after that before they are cut off.
        drain_timeout_ms: u64 = 25_000, within(0..=600_000);
        /// The networks of the proxies that are believed when they say for whom they ask (`X-Forwarded-For`, `Forwarded`).
        trusted_proxies: Vec<String> = vec!["127.0.0.0/8".into(), "::1".into()], networks();
        /// Web pages of which origins may call the API from a browser (CORS); none by default.
        cors_origins: Vec<String> = Vec::new(), origins();
    }

    /// What is kept in files.
    data: Data {
        /// Where the SQLite files lie, and the mails that go nowhere else; from the working folder if not absolute.
        folder: PathBuf = "data".into(), folder();
    }

    /// Where the tables are: SQLite files in `data.folder`, or PostgreSQL.
    database: Database {
        /// The PostgreSQL database of every service, `postgres://user:password@host:5432/name`; empty for SQLite.
        url: Secret = Secret::default(), url_or_empty(POSTGRES);
        /// Connections that the transactions of one service may use at once; 0 takes twice the cores, from 4 to 10.
        connections: u32 = 0, within(0..=1_000);
        /// How long a start waits for a PostgreSQL that is not there yet.
        wait_s: u32 = 60, within(0..=86_400);
        /// What stands between the shop and PostgreSQL: `none`, or a pgbouncer in transaction mode that knows prepared statements (`preparing`, from 1.21 on) or not (`plain`).
        pooler: Pooler = Pooler::None;
        /// Replicas that lists may be read from, each `postgres://…`, with commas between; every service's tables are in all of them.
        replica_urls: Secret = Secret::default(), urls_or_empty(POSTGRES);
        /// A replica that is further behind than this is left out until it has caught up.
        replica_lag_ms: u64 = 5_000, within(2_000..=600_000);
        /// A database of its own for the users; empty for `database.url`.
        users_url: Secret = Secret::default(), url_or_empty(POSTGRES);
        /// A database of its own for the catalogue; empty for `database.url`.
        catalog_url: Secret = Secret::default(), url_or_empty(POSTGRES);
        /// A database of its own for the stock; empty for `database.url`.
        inventory_url: Secret = Secret::default(), url_or_empty(POSTGRES);
        /// A database of its own for the orders; empty for `database.url`.
        orders_url: Secret = Secret::default(), url_or_empty(POSTGRES);
        /// A database of its own for the payments; empty for `database.url`.
        payments_url: Secret = Secret::default(), url_or_empty(POSTGRES);
        /// A database of its own for the notifications; empty for `database.url`.
        notifications_url: Secret = Secret::default(), url_or_empty(POSTGRES);
    }

    /// Where the services are that do not run in a process, and how its calls are known for its own.
    services: Services {
        /// Where the users service is: every address, or a name that stands for all of them.
        users: Vec<String> = at(Part::Users), addresses();
        /// Where the orders service is.
        orders: Vec<String> = at(Part::Orders), addresses();
        /// Where the catalogue is.
        catalog: Vec<String> = at(Part::Catalog), addresses();
        /// Where the stock is.
        inventory: Vec<String> = at(Part::Inventory), addresses();
        /// Where the payments are.
        payments: Vec<String> = at(Part::Payments), addresses();
        /// Where the notifications are.
        notifications: Vec<String> = at(Part::Notifications), addresses();
        /// The secret that services show when they call one another, the same in every process, such as `openssl rand -hex 32` makes one; a shop in one process needs none.
        token: Secret = Secret::default(), service_token_or_empty();
        /// The secret before this one: still taken while the processes get the new one, never shown.
        token_before: Secret = Secret::default(), service_token_or_empty();
        /// The longest that a call to another service may take, further tries included.
        call_timeout_ms: u64 = 10_000, within(100..=600_000);
        /// How many calls may be under way to one service at once; the next one is refused, so that a slow service cannot fill its callers.
        calls_at_once: u32 = 512, within(1..=100_000);
    }

    /// Redis servers, where there are any.
    redis: Redis {
        /// The one that must not forget (`maxmemory-policy noeviction`): it carries jobs and events, `redis://127.0.0.1:6379`; empty for none.
        queue_url: Secret = Secret::default(), redis_or_empty();
        /// The one that may forget (`maxmemory-policy allkeys-lru`): what was read is remembered there for all processes, and limits are counted; empty for none. Behind Sentinel `redis+sentinel://a:26379,b:26379/master`, in a cluster `redis+cluster://a:6379,b:6379`.
        cache_url: Secret = Secret::default(), redis_or_empty();
    }

    /// Kafka brokers, where there are any.
    kafka: Kafka {
        /// Their addresses, `host:9092`, with commas between; empty for none.
        brokers: Vec<String> = Vec::new(), brokers();
    }

    /// How often one account, or one address without an account, may ask. Counted at the gateway, for all gateways together where they share `redis.cache_url`.
    limits: Limits {
        /// Sign-ins, sign-ups and new tokens in a minute, by address; 0 for as many as one likes.
        sign_in_per_minute: u32 = 0, within(0..=1_000_000);
        /// Requests that change something in a minute; 0 for as many as one likes.
        change_per_minute: u32 = 0, within(0..=1_000_000);
        /// All other requests in a minute; 0 for as many as one likes.
        read_per_minute: u32 = 0, within(0..=1_000_000);
    }

    /// What is written down while the program runs.
    log: Log {
        /// `pretty` for people, `json` for machines; `auto` is pretty on a terminal and JSON otherwise.
        format: LogFormat = LogFormat::Auto;
        /// The least important thing that is logged, for all parts or part by part.
        level: String = "info".into(), levels();
    }

    /// The shop itself.
    shop: Shop {
        /// What the shop is called, in its greeting and its mails.
        name: String = "Carmel".into(), not_empty();
        /// The one currency of its prices.
        currency: Currency = Currency::EUR;
        /// Where customers find it, for links in mails; empty for the address it listens on.
        url: String = String::new(), url_or_empty(&["https", "http"]);
    }

    /// Proofs of who is calling.
    tokens: Tokens {
        /// How long an access token is good for.
        access_minutes: u32 = 15, within(1..=1_440);
        /// How long somebody stays signed in without coming back.
        refresh_days: u32 = 30, within(1..=365);
        /// How long a session that is over is kept, for questions that come late.
        keep_days: u32 = 30, within(1..=3_650);
        /// The `iss` of every token; tokens of another issuer are refused.
        issuer: String = "carmel".into(), not_empty();
    }

    /// How passwords are chosen and kept.
    passwords: Passwords {
        /// Memory that hashing one password takes (Argon2id; the default is what OWASP advises).
        memory_kib: u32 = 19_456, within(1_024..=1_048_576);
        /// How often that memory is gone over.
        iterations: u32 = 2, within(1..=10);
    }

    /// From a basket to a delivery.
    orders: Orders {
        /// How long stock is held for an order that is not paid yet.
        hold_minutes: u32 = 15, within(1..=1_440);
        /// How often orders that stand still are looked for.
        sweep_seconds: u32 = 30, within(1..=3_600);
    }

    /// What is for sale.
    catalog: Catalog {
        /// How long a cache between visitors and the shop, such as a CDN, may answer them with products, their stock and categories before it asks again (`s-maxage`); 0: it asks each time, and is told in a few bytes that nothing has changed.
        shared_cache_s: u32 = 0, within(0..=86_400);
    }

    /// Which orders a person looks at before they are paid.
    screening: Screening {
        /// Orders above this total, in whole units of their currency (1000 is 1,000.00 EUR), are reviewed.
        review_above: i64 = 1_000, within(0..=1_000_000_000_000);
        /// A customer's orders beyond this many in an hour are reviewed.
        orders_per_hour: u32 = 20, within(1..=1_000_000);
    }

    /// Who takes the money.
    payments: Payments {
        /// Where a sandbox runs as a server of its own; empty runs it in this process.
        sandbox_url: String = String::new(), url_or_empty(&["http", "https"]);
        /// How long the sandbox takes for each answer, as a real provider would.
        sandbox_latency_ms: u64 = 20, within(0..=60_000);
        /// How long a provider's answer is waited for; after that the outcome is unknown and is asked after.
        timeout_ms: u64 = 10_000, within(100..=120_000);
        /// What the provider signs its webhooks with; empty makes one at each start, for the sandbox in this process.
        webhook_secret: Secret = Secret::default(), webhook_secret_or_empty();
    }

    /// What is sent to customers.
    mail: Mail {
        /// The mail server, `smtp://host:25`, with `user:password@` only for one on this machine (TLS to mail servers comes later); empty writes mails into `mail.folder`.
        smtp_url: Secret = Secret::default(), url_or_empty(&["smtp"]);
        /// Who mails are from.
        from: String = "Carmel <shop@localhost>".into(), mail_address();
        /// Where mails go when there is no mail server; empty for the folder `mail` in `data.folder`.
        folder: PathBuf = PathBuf::new();
    }

    /// Work that is done later.
    jobs: Jobs {
        /// How jobs reach workers: `database`, `bullmq` (the queues of BullMQ on `redis.queue_url`), or `auto`, which is bullmq where there is that Redis.
        queue: JobQueue = JobQueue::Auto;
        /// How many jobs of one service run at once in this process; most of them wait for others most of the time.
        concurrency: u32 = 256, within(1..=1_000);
        /// How long a finished job can still be looked at: 10080 are a week.
        keep_minutes: u32 = 10_080, within(5..=5_256_000);
    }

    /// What services tell one another.
    events: Events {
        /// What carries them: `kafka`, `redis` (Streams), or `memory` within one process; `auto` is Kafka where `kafka.brokers` names some, Redis where `redis.queue_url` does, memory otherwise.
        bus: EventBus = EventBus::Auto;
        /// Into how many parts a service's events are divided at a broker: so many processes share the work. Changed only while nothing is under way.
        partitions: u32 = 8, within(1..=256);
        /// How long an event that everybody has heard is kept, and the memory of it that makes a second time harmless: 10080 are a week.
        keep_minutes: u32 = 10_080, within(5..=5_256_000);
    }

    /// Requests that are sent again under their `Idempotency-Key`.
    idempotency: Idempotency {
        /// How long an answer is kept for who asks again: 1440 are a day.
        keep_minutes: u32 = 1_440, within(5..=5_256_000);
    }
}

/// Where a service is when nobody says otherwise: on this machine, at its own port.
fn at(service: Part) -> Vec<String> {
    vec![format!("http://127.0.0.1:{}", service.port())]
}

const POSTGRES: &[&str] = &["postgres", "postgresql"];

/// Names that are no `CARMEL_…` and set a key all the same, as other programs use them.
pub(super) const PLAIN: &[(&str, &str)] = &[
    ("DATABASE_URL", "database.url"),
    ("PORT", "server.port"),
    ("REDIS_URL", "redis.queue_url"),
    ("REDIS_QUEUE_URL", "redis.queue_url"),
    ("REDIS_CACHE_URL", "redis.cache_url"),
    ("KAFKA_BROKERS", "kafka.brokers"),
];

words! {
    /// What stands between the shop and PostgreSQL.
    pub enum Pooler {
        /// Nothing.
        None = "none",
        /// A pgbouncer in transaction mode without prepared statements.
        Plain = "plain",
        /// A pgbouncer in transaction mode with them.
        Preparing = "preparing",
    }
}

words! {
    /// How jobs reach workers.
    pub enum JobQueue {
        /// BullMQ where there is a Redis for it, the database otherwise.
        Auto = "auto",
        /// Workers look into the database.
        Database = "database",
        /// Through the queues of BullMQ.
        Bullmq = "bullmq",
    }
}

words! {
    /// What carries events.
    pub enum EventBus {
        /// Whatever the settings name a server of.
        Auto = "auto",
        /// The process itself.
        Memory = "memory",
        /// Redis Streams.
        Redis = "redis",
        /// Kafka.
        Kafka = "kafka",
    }
}

words! {
    /// How the log looks.
    pub enum LogFormat {
        /// `pretty` on a terminal, `json` otherwise.
        Auto = "auto",
        /// For people.
        Pretty = "pretty",
        /// One JSON object per line.
        Json = "json",
    }
}

impl Config {
    /// Where mails go when there is no mail server.
    pub fn mail_folder(&self) -> PathBuf {
        match self.mail.folder.as_os_str().is_empty() {
            true => self.data.folder.join("mail"),
            false => self.mail.folder.clone(),
        }
    }

    /// What two or more keys must be together, once each is right alone: the
    /// key at fault and what is wrong.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if !self.payments.sandbox_url.is_empty() && self.payments.webhook_secret.is_empty() {
            found.push((
                "payments.webhook_secret",
                "is empty; what the sandbox at payments.sandbox_url signs its webhooks with would be right"
                    .into(),
            ));
        }
        let carried_by = self.events.bus;
        if carried_by == EventBus::Redis && self.redis.queue_url.is_empty() {
            found.push(("events.bus", "is redis; with redis.queue_url set it would be right".into()));
        }
        if carried_by == EventBus::Kafka && self.kafka.brokers.is_empty() {
            found.push(("events.bus", "is kafka; with kafka.brokers set it would be right".into()));
        }
        if self.jobs.queue == JobQueue::Bullmq && self.redis.queue_url.is_empty() {
            found.push(("jobs.queue", "is bullmq; with redis.queue_url set it would be right".into()));
        }
        if self.services.token.is_empty() && !self.services.token_before.is_empty() {
            found.push((
                "services.token",
                "is empty; the secret after services.token_before would be right".into(),
            ));
        }
        found
    }
}

impl Database {
    /// The PostgreSQL database of a service (`users`, `catalog`, …), or
    /// nothing for SQLite.
    pub fn url_of(&self, service: &str) -> Option<&Secret> {
        let own = match service {
            "users" => &self.users_url,
            "catalog" => &self.catalog_url,
            "inventory" => &self.inventory_url,
            "orders" => &self.orders_url,
            "payments" => &self.payments_url,
            "notifications" => &self.notifications_url,
            _ => &self.url,
        };
        [own, &self.url].into_iter().find(|url| !url.is_empty())
    }
}

impl Services {
    /// Where a service is.
    pub fn of(&self, service: Part) -> &[String] {
        match service {
            Part::Gateway => &[],
            Part::Users => &self.users,
            Part::Orders => &self.orders,
            Part::Catalog => &self.catalog,
            Part::Inventory => &self.inventory,
            Part::Payments => &self.payments,
            Part::Notifications => &self.notifications,
        }
    }
}

impl Shop {
    /// Where customers find the shop; `port` is the one it really listens on.
    pub fn url_at(&self, server: &Server, port: u16) -> String {
        if !self.url.is_empty() {
            return self.url.trim_end_matches('/').to_owned();
        }
        match server.host.as_str() {
            // Every network it is in: of these only this machine's own name is known.
            "0.0.0.0" | "::" => format!("http://localhost:{port}"),
            host if host.contains(':') => format!("http://[{host}]:{port}"),
            host => format!("http://{host}:{port}"),
        }
    }
}

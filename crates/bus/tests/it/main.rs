//! Stories about events, each on both engines.

#![allow(clippy::unwrap_used, missing_docs)]

mod apart;
mod broker;
mod carried;
mod kafka;
mod order;
mod outbox;
mod redis;
mod refused;
mod world;

/// Runs each story in one process, on SQLite and on PostgreSQL.
macro_rules! both_databases {
    ($($story:ident),* $(,)?) => {
        crate::stories!(sqlite, sqlite, memory: $($story),*);
        crate::stories!(postgres, postgres, memory: $($story),*);
    };
}
pub(crate) use both_databases;

/// Runs each story on every bus. What a database has to do with it is the same
/// behind Kafka as behind Redis.
macro_rules! every_bus {
    ($($story:ident),* $(,)?) => {
        crate::stories!(memory_sqlite, sqlite, memory: $($story),*);
        crate::stories!(memory_postgres, postgres, memory: $($story),*);
        crate::every_broker!($($story),*);
    };
}
pub(crate) use every_bus;

/// Runs each story on every bus that is a broker.
macro_rules! every_broker {
    ($($story:ident),* $(,)?) => {
        crate::stories!(redis_sqlite, sqlite, redis: $($story),*);
        crate::stories!(redis_postgres, postgres, redis: $($story),*);
        crate::stories!(kafka_postgres, postgres, kafka: $($story),*);
    };
}
pub(crate) use every_broker;

macro_rules! stories {
    ($module:ident, $database:ident, $broker:ident: $($story:ident),*) => {
        mod $module { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                let broker = crate::broker::Broker::$broker().await;
                super::$story(crate::world::TestDb::$database(broker).await).await
            }
        )* }
    };
}
pub(crate) use stories;

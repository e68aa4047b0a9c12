//! Stories about jobs, each on both engines.

#![allow(clippy::unwrap_used, missing_docs)]

mod keys;
mod leases;
mod queue;
mod repeat;
mod world;

/// Runs each story on SQLite and on PostgreSQL.
macro_rules! both_databases {
    ($($story:ident),* $(,)?) => {
        mod sqlite { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story(crate::world::TestDb::sqlite().await).await }
        )* }
        mod postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story(crate::world::TestDb::postgres().await).await }
        )* }
    };
}
pub(crate) use both_databases;

//! Stories about jobs, each on both engines.

#![allow(clippy::unwrap_used, missing_docs)]

mod bullmq;
mod holders;
mod judges;
mod keys;
mod leases;
mod node;
mod outages;
mod pace;
mod queue;
mod repeat;
mod rest;
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

/// Runs each story on both databases and in both ways: the jobs come to their
/// workers through the database, and through BullMQ.
macro_rules! both_ways {
    ($($story:ident),* $(,)?) => {
        $crate::both_databases!($($story),*);
        mod sqlite_bullmq { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story(crate::world::TestDb::sqlite().await.through_bullmq()).await }
        )* }
        mod postgres_bullmq { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story(crate::world::TestDb::postgres().await.through_bullmq()).await }
        )* }
    };
}
pub(crate) use both_ways;

/// Runs each story on both databases, through BullMQ.
macro_rules! through_bullmq {
    ($($story:ident),* $(,)?) => {
        mod sqlite { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story(crate::world::TestDb::sqlite().await.through_bullmq()).await }
        )* }
        mod postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story(crate::world::TestDb::postgres().await.through_bullmq()).await }
        )* }
    };
}
pub(crate) use through_bullmq;

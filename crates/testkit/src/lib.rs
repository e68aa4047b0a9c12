//! What tests are made of: real servers that end with the test, a running
//! shop and a client to talk to it, a clock that a test moves. Everything here
//! panics when it cannot do its part: a test that lacks a server has failed.
#![allow(clippy::unwrap_used)]

pub mod client;
pub mod clock;
mod counting;
mod databases;
pub mod nginx;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
mod program;
pub mod redis;
mod server;
pub mod smtp;
pub mod wire;

pub use counting::Counting;
pub use databases::TestDb;
pub use program::Program;
pub use server::free_port;
#[doc(hidden)]
pub use {db, tokio};

/// Runs each story on both databases: `both_databases!(a_mug_is_sold, …);`
/// makes the tests `sqlite::a_mug_is_sold` and `postgres::a_mug_is_sold` of
/// `async fn a_mug_is_sold(db: TestDb)`. Once per module.
#[macro_export]
macro_rules! both_databases {
    ($($story:ident),+ $(,)?) => {
        mod sqlite { $(
            #[::core::prelude::v1::test]
            fn $story() { $crate::run(super::$story($crate::TestDb::new($crate::db::Engine::Sqlite))); }
        )+ }
        mod postgres { $(
            #[::core::prelude::v1::test]
            fn $story() { $crate::run(super::$story($crate::TestDb::new($crate::db::Engine::Postgres))); }
        )+ }
    };
}

/// Runs a story on a runtime of its own, as `#[tokio::test(flavor =
/// "multi_thread")]` does; whoever uses the macro needs no tokio for it.
#[doc(hidden)]
pub fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(story);
}

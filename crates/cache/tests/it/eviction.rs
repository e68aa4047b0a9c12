//! One Redis for cache and queue.

use cache::{Address, check_eviction};
use testkit::redis::Server;

const LRU: [&str; 2] = ["--maxmemory-policy", "allkeys-lru"];

async fn check(cache: &str, queue: &str) -> Result<(), kernel::Error> {
    check_eviction(&cache.parse::<Address>().unwrap(), &queue.parse().unwrap()).await
}

#[tokio::test]
async fn one_redis_for_cache_and_queue_is_refused_unless_it_evicts_nothing() {
    let (keeps, evicts) = (Server::start(), Server::start_with(&LRU));
    let same_elsewhere = format!("redis://localhost:{}/3", evicts.port());

    for queue in [evicts.url(), same_elsewhere] {
        let refused = check(&evicts.url(), &queue).await.unwrap_err();
        assert_eq!(refused.code, "redis_evicts");
        assert!(
            refused.message.contains("allkeys-lru") && refused.message.contains("noeviction"),
            "{refused}"
        );
    }

    check(&keeps.url(), &keeps.url()).await.unwrap();
    check(&evicts.url(), &keeps.url()).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_asked_does_not_stop_the_start() {
    let nobody = format!("redis://127.0.0.1:{}", testkit::free_port());

    check(&nobody, &nobody).await.unwrap();
}

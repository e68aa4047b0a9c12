//! A cache may be evicted, a queue must not be.

use kernel::{Error, Result};
use redis::{AsyncConnectionConfig, InfoDict, RedisResult};

use crate::address::Address;

/// Refuses one Redis for both (`redis_evicts`), unless it evicts nothing: as
/// soon as its memory was full, jobs would be missing. Which server it is, its
/// own name for its run tells, so two addresses of one Redis are seen through.
/// What cannot be asked now is not refused: the shop starts without Redis, too.
pub async fn check_eviction(cache: &Address, queue: &Address) -> Result<()> {
    let (cache_is, queue_is) = match (ask(cache).await, ask(queue).await) {
        (Ok(cache), Ok(queue)) => (cache, queue),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(error = %error, "whether cache and queue are one Redis could not be found out");
            return Ok(());
        }
    };
    let policy = queue_is.policy;
    if policy == "noeviction" {
        return Ok(());
    }
    if cache_is.run == queue_is.run {
        let message = format!(
            "the cache ({cache}) and the queue ({queue}) are one Redis, and its maxmemory-policy is {policy}: \
             it would throw jobs away; give each a Redis of its own, or set the policy to noeviction"
        );
        return Err(Error::invalid("redis_evicts", message));
    }
    tracing::warn!(redis = %queue, policy, "the queue's Redis throws jobs away when it is full; set noeviction");
    Ok(())
}

struct Server {
    run: String,
    policy: String,
}

/// `INFO` and not `CONFIG`, which managed servers forbid.
async fn ask(address: &Address) -> RedisResult<Server> {
    let mut connection = address.connect(AsyncConnectionConfig::new()).await?;
    let about: InfoDict = redis::cmd("INFO").query_async(&mut connection).await?;
    let text = |name: &str| about.get::<String>(name).unwrap_or_default();
    Ok(Server { run: text("run_id"), policy: text("maxmemory_policy") })
}

//! How long an answer is still of use to whoever asked first.

use std::future::Future;

use kernel::Time;

tokio::task_local! {
    static DEADLINE: Time;
}

/// When the answer that is being worked on here stops being of use, if that
/// is known. Every call made until then carries what is left.
pub fn deadline() -> Option<Time> {
    DEADLINE.try_with(|until| *until).ok()
}

/// Does the work with a deadline; one that was there before and is earlier
/// stays. It only tells calls how long they may take: it ends nothing itself.
pub async fn within<T>(until: Time, work: impl Future<Output = T>) -> T {
    let until = deadline().map_or(until, |before| before.min(until));
    DEADLINE.scope(until, work).await
}

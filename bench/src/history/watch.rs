//! Runs `carmel audit` and looks how long it takes and how much memory.

use std::time::{Duration, Instant};

use load::{busy, memory_mb};

use crate::stacks::Stack;

/// What an audit took.
pub struct Audit {
    pub took: Duration,
    /// Seconds of processor time.
    pub busy: f64,
    /// The most memory that it ever had (`VmHWM` of proc(5)).
    pub peak_mb: f64,
}

/// Audits a shop that does not run; one with a breach ends the run.
pub async fn audit(stack: &mut Stack<'_>) -> Audit {
    let began = Instant::now();
    let mut audit = stack.carmel().spawn(&["audit"]);
    let id = audit.id().expect("it has just begun");
    let (mut peak_mb, mut used): (f64, f64) = (0.0, 0.0);
    let status = loop {
        peak_mb = peak_mb.max(memory_mb(id, "VmHWM:"));
        used = used.max(busy(id).as_secs_f64());
        if let Some(status) = audit.try_wait().expect("a child can be waited for") {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let took = began.elapsed();
    let said = audit.wait_with_output().await.expect("it has ended");
    let said = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(status.success(), "{said}");
    Audit { took, busy: used, peak_mb }
}

//! What the program cries out for: a line of the log at the level `error` says
//! that somebody must look, and a panic in a task is caught where it runs. Both
//! are findings.

use std::{cell::RefCell, io::Write, panic, sync::Once};

use tracing_subscriber::filter::LevelFilter;

thread_local! {
    static CRIES: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Begins to listen, on all threads.
pub fn listen() {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        let log =
            tracing_subscriber::fmt().with_max_level(LevelFilter::ERROR).without_time().with_ansi(false);
        log.with_writer(|| Cry).init();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            cry(&format!("{panic}\n"));
            before(panic);
        }));
    });
}

/// What was cried out on this thread since the last time.
pub fn heard() -> String {
    CRIES.take()
}

fn cry(text: &str) {
    CRIES.with_borrow_mut(|cries| cries.push_str(text));
}

struct Cry;

impl Write for Cry {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        cry(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

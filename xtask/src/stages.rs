//! The stages of a run: what each took and how it ended.

use std::time::{Duration, Instant};

use crate::shell::Done;

/// Stages in the order they ran.
#[derive(Default)]
pub struct Stages(Vec<Stage>);

struct Stage {
    name: &'static str,
    took: Duration,
    end: End,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Well,
    Badly,
    NotRun,
    LeftOut,
}

/// What became of a stage that not every machine can run.
pub enum Tried {
    /// It ended well.
    Done,
    /// It cannot be done here, and said why.
    LeftOut,
}

impl Stages {
    /// Runs one and says at once how it ended. Returns what it made.
    pub fn run<T>(&mut self, name: &'static str, work: impl FnOnce() -> Done<T>) -> Option<T> {
        eprintln!("\n── {name}");
        let began = Instant::now();
        let done = work();
        let end = if done.is_ok() { End::Well } else { End::Badly };
        self.0.push(Stage { name, took: began.elapsed(), end });
        match done {
            Ok(value) => Some(value),
            Err(message) => {
                eprintln!("{name} failed: {message}");
                None
            }
        }
    }

    /// Runs one that not every machine can: the table says so when it was left out, and that is no failure.
    pub fn attempt(&mut self, name: &'static str, work: impl FnOnce() -> Done<Tried>) {
        if let Some(Tried::LeftOut) = self.run(name, work)
            && let Some(stage) = self.0.last_mut()
        {
            stage.end = End::LeftOut;
        }
    }

    /// Notes that one was not run because of another that failed.
    pub fn not_run(&mut self, name: &'static str) {
        self.0.push(Stage { name, took: Duration::ZERO, end: End::NotRun });
    }

    /// The table of all stages.
    pub fn table(&self) -> String {
        let width = self.0.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
        let mut table = String::new();
        for Stage { name, took, end } in &self.0 {
            let end = match end {
                End::Well => "ok",
                End::Badly => "failed",
                End::NotRun => "not run",
                End::LeftOut => "left out: see above why",
            };
            table.push_str(&format!("  {name:width$}  {:>7.1} s  {end}\n", took.as_secs_f64()));
        }
        let all: Duration = self.0.iter().map(|stage| stage.took).sum();
        table.push_str(&format!("  {:width$}  {:>7.1} s\n", "all", all.as_secs_f64()));
        table
    }

    /// Fails with the names of what did not end well.
    pub fn verdict(&self) -> Done {
        let bad: Vec<_> = self
            .0
            .iter()
            .filter(|stage| matches!(stage.end, End::Badly | End::NotRun))
            .map(|stage| stage.name)
            .collect();
        if bad.is_empty() { Ok(()) } else { Err(format!("not in order: {}", bad.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_said_and_is_no_failure() {
        let mut stages = Stages::default();

        stages.attempt("done", || Ok(Tried::Done));
        stages.attempt("elsewhere", || Ok(Tried::LeftOut));
        let well = stages.verdict();
        stages.attempt("broken", || Err("it broke".into()));

        assert_eq!(well, Ok(()));
        assert!(stages.table().contains("left out"), "{}", stages.table());
        assert_eq!(stages.verdict(), Err("not in order: broken".into()));
    }
}

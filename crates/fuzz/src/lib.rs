//! What strangers send: every parser that they reach, as targets for
//! cargo-fuzz. A target takes any bytes, lets the program read them, and panics
//! when a promise is broken. The stored inputs stand in `corpus`, a folder for
//! each target, and go through all of them in the tests; `cargo xtask fuzz`
//! looks for new ones. What each promises and what was found stands in
//! docs/reliability.md.

#![allow(clippy::unwrap_used)]

mod answer;
mod asked;
mod cursor;
mod errors;
mod event;
mod http;
#[cfg(any(test, feature = "libfuzzer"))]
mod mutant;
mod promise;
mod schema;
mod settings;
mod shop;
#[cfg(test)]
mod tests;
mod token;
mod webhook;

pub use answer::answer;
pub use cursor::cursor;
pub use event::event;
pub use http::{http, rpc};
#[cfg(feature = "libfuzzer")]
pub use mutant::mutate;
pub use settings::settings;
pub use token::token;
pub use webhook::webhook;

//! The settings: one [`Config`] with a default and a sentence for every key.
//! They come from `carmel.toml`, the environment (`.env` fills its gaps) and
//! flags, each overriding the one before. A wrong or unknown key stops the
//! start; all that is wrong is said at once, with where it stands and what
//! would be right.

mod command;
mod declare;
mod file;
mod keys;
mod kind;
mod load;
mod origin;
mod reference;
mod secret;
#[cfg(test)]
mod tests;
mod variables;

pub use command::{ConfigCommand, printed, run};
use keys::PLAIN;
pub use keys::*;
pub use load::{Flags, Loaded, gather, load};
pub use origin::{Problem, Problems};
pub use secret::Secret;

/// Whether a variable of this name sets a key without being a `CARMEL_…`.
pub fn is_plain_variable(name: &str) -> bool {
    PLAIN.iter().any(|(plain, _)| *plain == name)
}

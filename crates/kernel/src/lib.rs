//! Ids, money, time and errors: what everything else is made of. No input or
//! output here; the world outside (clock, chance, tasks) is handed in as a
//! [`World`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod id;
mod money;
mod name;
#[doc(hidden)]
pub mod schema;
mod text;
mod time;
mod value;
mod world;

pub use error::{Error, FieldError, Kind};
pub use id::*;
pub use money::{Currency, Money, MoneyError};
pub use name::{Email, Sku};
pub use time::Time;
pub use value::{FromValue, ToValue, Value, ValueRef};
pub use world::{BoxFuture, Outside, Task, World};

#[doc(hidden)]
pub use {serde, utoipa, uuid};

/// What every fallible thing here answers when nothing more exact is known.
pub type Result<T, E = Error> = std::result::Result<T, E>;

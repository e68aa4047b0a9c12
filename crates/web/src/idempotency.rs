//! Doing a thing once, however often it is asked for. The key and the answer
//! are saved in the transaction of the effect: either all of them are there
//! or none.

mod answer;
mod key;
mod once;
mod store;

pub use answer::Answer;
pub(crate) use key::{BodyHash, HEADER};
pub use key::{IdempotencyKey, MaybeIdempotencyKey};
#[doc(hidden)]
pub use once::{AsKey, first, key_of};
pub use store::{
    MIGRATIONS, again, answer, answer_all, breaches, claim, claim_all, find, give_back, purge, sweep,
};

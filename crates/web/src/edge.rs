//! The layers of the edge, each for one purpose. Who composes them says why
//! each stands where it stands; `Router::layer` takes them outermost last,
//! `tower::ServiceBuilder` outermost first.

mod around;
mod body_limit;
mod compression;
mod cors;
mod fallback;
mod forwarded;
mod maintenance;
mod own_writes;
mod panics;
mod requests;
mod security;
mod time_limit;

pub use crate::body::of_error as failure_of_body;
pub use around::{Answer, Around, Layered, Together};
pub use body_limit::{BodyLimit, body_limit};
pub use compression::{Compression, compression};
pub use cors::{Cors, cors};
pub use fallback::{method_not_allowed, no_such_route, with_fallbacks};
pub use forwarded::{Forwarded, ForwardedLayer, Peer, forwarded};
pub use maintenance::Maintenance;
pub use own_writes::{OwnWrites, own_writes};
pub use panics::{Panics, panics};
pub use requests::{Requests, requests};
pub use security::{SecurityHeaders, security_headers};
pub use time_limit::{TimeLimit, time_limit};

//! How a channel calls.

use std::{sync::Arc, time::Duration};

use crate::{Network, ServiceToken};

/// How a [`Channel`](crate::Channel) calls.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest that a call may take when nobody up the line said less.
    pub limit: Duration,
    /// Multiplexed connections (HTTP/2 with prior knowledge) instead of a pool
    /// of HTTP/1.1 connections.
    pub http2: bool,
    /// How many HTTP/2 connections to each address are used in turn.
    pub connections: usize,
    /// How many calls may be under way to the service at once; the next one is
    /// refused on the spot, so that a slow service cannot fill its callers.
    pub at_once: usize,
    /// How often a call is tried at most, the first time included.
    pub tries: usize,
    /// How many more tries all calls together may make, per hundred calls …
    pub retry_percent: u32,
    /// … and beyond that per second.
    pub retries_per_second: u32,
    /// What proves that we are one of the services.
    pub token: Option<ServiceToken>,
    /// The W3C `traceparent` of what is being worked on, to be sent along.
    pub traceparent: fn() -> Option<String>,
    /// What carries the calls in place of connections, in a simulation.
    pub network: Option<Arc<dyn Network>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            limit: Duration::from_secs(10),
            http2: true,
            connections: 1,
            at_once: 512,
            tries: 3,
            retry_percent: 10,
            retries_per_second: 5,
            token: None,
            traceparent: || None,
            network: None,
        }
    }
}

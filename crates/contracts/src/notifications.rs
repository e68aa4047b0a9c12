//! What people are told.

use kernel::{Email, JobId};
use serde::{Deserialize, Serialize};

rpc::service! {
    /// What other services may ask of notifications.
    pub trait Notifications, NotificationsClient, notifications_routes = "notifications" {
        /// Puts a mail into the queue. The same `key` is sent once.
        async fn send(SendMail) -> Queued;
    }
}

/// Asks to send a mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendMail {
    /// What makes the second time harmless.
    pub key: String,
    /// To whom.
    pub to: Email,
    /// The subject: one line.
    pub subject: String,
    /// As text.
    pub text: String,
    /// As HTML, if it is to have that form too.
    pub html: Option<String>,
}

/// It will be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// By this job.
    pub job: JobId,
}

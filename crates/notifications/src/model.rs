//! A message, and what people are told about their orders.

use std::str::FromStr;

use kernel::{Email, FromValue, JobId, MessageId, OrderId, UserId, ValueRef, words};

words! {
    /// What a customer is told about an order.
    pub enum Occasion {
        /// It is paid.
        Confirmed = "confirmed",
        /// It is on its way.
        Shipped = "shipped",
        /// It was undone.
        Cancelled = "cancelled",
        /// Its money is on its way back.
        Refunded = "refunded",
    }
}

impl Occasion {
    /// The occasion of an event of orders, if people are told about it.
    pub fn of(topic: &str) -> Option<Occasion> {
        topic.strip_prefix("orders.")?.parse().ok()
    }

    /// The subject of the mail about it.
    pub fn subject(self, number: &str) -> String {
        match self {
            Occasion::Confirmed => format!("Your order {number} is confirmed"),
            Occasion::Shipped => format!("Your order {number} is on its way"),
            Occasion::Cancelled => format!("Your order {number} was cancelled"),
            Occasion::Refunded => format!("Your order {number} was refunded"),
        }
    }
}

words! {
    /// Where a message stands: `queued → sent`.
    pub enum State {
        /// To be sent by its job.
        Queued = "queued",
        /// Taken by the mail server, or written into the folder.
        Sent = "sent",
    }
}

/// A subject: one line of 1 to 200 characters. Nothing in it can begin another
/// header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

impl Subject {
    /// The line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Subject, String> {
        let text = text.trim();
        // The separators of Unicode end a line as well, for some who read mail.
        let one_line = !text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
        if one_line && (1..=200).contains(&text.chars().count()) {
            Ok(Subject(text.to_owned()))
        } else {
            Err("a subject is one line of 1 to 200 characters".into())
        }
    }
}

impl FromValue for Subject {
    fn from_value(value: ValueRef<'_>) -> Result<Subject, String> {
        value.text()?.parse()
    }
}

/// A mail, from the moment it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which. Its `Message-ID` is made of it.
    pub id: MessageId,
    /// What makes the second time harmless.
    pub key: String,
    /// The order it is about.
    pub order_id: Option<OrderId>,
    /// Who asked for it, if a person did.
    pub asked_by: Option<UserId>,
    /// What sends it; nothing only until that is saved beside it.
    pub job_id: Option<JobId>,
    /// To whom.
    pub recipient: Email,
    /// One line.
    pub subject: Subject,
    /// As text.
    pub text: String,
    /// As HTML.
    pub html: Option<String>,
    /// Where it stands.
    pub state: State,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_line() {
        for (text, fits) in [
            ("Your order", true),
            ("  Grüße  ", true),
            ("", false),
            ("  ", false),
            ("Hello\r\nBcc: eve@example.com", false),
            ("Hello\nthere", false),
            ("Hello\u{2028}there", false),
            ("a\0b", false),
            (&"x".repeat(200), true),
            (&"x".repeat(201), false),
        ] {
            assert_eq!(text.parse::<Subject>().is_ok(), fits, "{text:?}");
        }
        assert_eq!(" Hi ".parse::<Subject>().unwrap().as_str(), "Hi");
    }

    #[test]
    fn people_are_told_of_what_concerns_them() {
        for (topic, occasion) in [
            ("orders.confirmed", Some(Occasion::Confirmed)),
            ("orders.cancelled", Some(Occasion::Cancelled)),
            ("orders.shipped", Some(Occasion::Shipped)),
            ("orders.refunded", Some(Occasion::Refunded)),
            ("orders.held", None),
            ("payments.refunded", None),
        ] {
            assert_eq!(Occasion::of(topic), occasion, "{topic}");
        }
    }
}

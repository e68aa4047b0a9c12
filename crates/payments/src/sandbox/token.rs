//! What a token makes the sandbox do.

/// How a card behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Pays.
    Success,
    /// `tok_declined`
    Declined,
    /// `tok_insufficient_funds`
    InsufficientFunds,
    /// Promised, but the answer is never given: `tok_timeout`
    Timeout,
    /// `tok_slow`
    Slow,
    /// Promised, but never to be taken: `tok_capture_refused`
    CaptureRefused,
    /// Announced before it is answered: `tok_webhook_early`
    WebhookEarly,
    /// Announced late: `tok_webhook_late`
    WebhookLate,
    /// Announced twice: `tok_webhook_twice`
    WebhookTwice,
    /// No such token.
    Unknown,
}

impl Behaviour {
    /// How the card of this token behaves.
    pub fn of(token: &str) -> Behaviour {
        match token {
            "tok_success" | "tok_review" => Behaviour::Success,
            "tok_declined" => Behaviour::Declined,
            "tok_insufficient_funds" => Behaviour::InsufficientFunds,
            "tok_timeout" => Behaviour::Timeout,
            "tok_slow" => Behaviour::Slow,
            "tok_capture_refused" => Behaviour::CaptureRefused,
            "tok_webhook_early" => Behaviour::WebhookEarly,
            "tok_webhook_late" => Behaviour::WebhookLate,
            "tok_webhook_twice" => Behaviour::WebhookTwice,
            // Loads want thousands of distinct cards.
            token if token.len() <= 100 && token.starts_with("tok_success_") => Behaviour::Success,
            _ => Behaviour::Unknown,
        }
    }

    /// Why the card is declined, if it is.
    pub fn decline(self) -> Option<&'static str> {
        match self {
            Behaviour::Declined => Some("card_declined"),
            Behaviour::InsufficientFunds => Some("insufficient_funds"),
            Behaviour::Unknown => Some("unknown_token"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_how_the_card_behaves() {
        for (token, decline) in [
            ("tok_success", None),
            ("tok_success_4711", None),
            ("tok_review", None),
            ("tok_timeout", None),
            ("tok_declined", Some("card_declined")),
            ("tok_insufficient_funds", Some("insufficient_funds")),
            ("tok_successful", Some("unknown_token")),
            ("", Some("unknown_token")),
        ] {
            assert_eq!(Behaviour::of(token).decline(), decline, "{token}");
        }
    }
}

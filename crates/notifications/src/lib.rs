//! What people are told: mails from templates

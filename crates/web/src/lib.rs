//! How to answer: extractors, problem+json, idempotency, health, metrics

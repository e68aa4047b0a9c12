//! What was paid: authorisations, captures, refunds, the ledger

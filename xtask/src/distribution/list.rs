//! What is not spread, and who may ask all servers at once: each with its reason.

/// Tables that are whole, and why that does no harm.
pub const WHOLE: &[(&[&str], &str)] = &[
    (
        &["products", "variants", "price_history", "categories", "product_categories", "category_tree"],
        "the catalogue is read everywhere and changed by a few: a copy of it on every server",
    ),
    (
        &["jobs", "queues", "schedules"],
        "done work is swept after some days, and whoever claims takes the next of all",
    ),
    (
        &["outbox", "inbox"],
        "what was sent and heard is swept after some days, and the relay takes the next of all",
    ),
    (
        &["listeners", "consumers", "refused"],
        "who hears, a handful; and what was refused until it is taken or skipped",
    ),
    (&["idempotency", "webhooks_heard"], "swept after a day or some"),
    (&["signing_keys"], "a handful"),
    (
        &["sessions", "refresh_tokens"],
        "ended sessions are swept; a token names neither its user nor its session, so it cannot be spread with them",
    ),
    (&["sandbox_charges", "sandbox_calls"], "they stand for the books of another company"),
];

/// What is unique over all servers: it takes a small table of its own there.
pub const UNIQUE: &[(&str, &str)] = &[
    ("users (email)", "people sign in with their address, and no two have the same"),
    ("orders (number)", "what people call an order; drawn by chance, so that only the insert can tell"),
    ("payments (id)", "a UUID: unique without being watched"),
    ("attempts (key)", "a UUID: unique without being watched"),
    ("refunds (attempt_key)", "a UUID: unique without being watched"),
    ("messages (key)", "one mail for one cause, whichever message it becomes"),
    ("messages (job_id)", "a UUID: unique without being watched"),
];

/// Statements: the end of their file, a part of their text, the reason.
pub const EXCEPTIONS: &[(&str, &str, &str)] = &[
    // Looked for by something else than the id.
    ("users/src/store.rs", "FROM users WHERE email = $1", "sign-in, by the unique address"),
    (
        "orders/src/store/find.rs",
        "customer_id = $3",
        "a customer's own list: an index read of one page on each server",
    ),
    (
        "payments/src/store/books.rs",
        "FROM screenings WHERE screenings.customer_id = given.customer_id",
        "a few rows of one hour, by an index",
    ),
    (
        "payments/src/store/mod.rs",
        "FROM attempts WHERE key = $1",
        "a provider names the attempt by its key alone",
    ),
    ("notifications/src/store.rs", "FROM messages WHERE key = $1", "only after its key was found taken"),
    ("notifications/src/store.rs", "FROM messages WHERE job_id = $1", "staff ask what became of a mail"),
    // Lists of staff: a page of all there are.
    ("users/src/store.rs", "FROM users WHERE id < $1 ORDER BY id DESC LIMIT $2", "a list of staff"),
    ("orders/src/store/find.rs", "FROM orders WHERE id < $1", "a list of staff"),
    (
        "inventory/src/store/mod.rs",
        "FROM stock WHERE sku > $1 AND location = $2 ORDER BY sku",
        "a list of staff",
    ),
    // Sweeps: now and then for all, by a partial index that is nearly empty.
    ("orders/src/store.rs", "(updated_at, id) > ($2, $3)", "the sweep of orders that stand still"),
    (
        "inventory/src/store/mod.rs",
        "WHERE state = 'open' AND expires_at <= $1",
        "the sweep of holds that ran out",
    ),
    (
        "payments/src/store/mod.rs",
        "WHERE state = 'pending' AND started_at <= $1",
        "the sweep of attempts without an answer",
    ),
    (
        "payments/src/store/mod.rs",
        "p.state = 'authorised' AND p.changed_at <= $1",
        "the sweep of promises to be given back",
    ),
    // Audits: everything, page by page.
    ("users/src/audit.rs", "", "an audit"),
    ("orders/src/audit.rs", "", "an audit"),
    ("payments/src/audit.rs", "", "an audit"),
    ("notifications/src/audit.rs", "", "an audit, and what it mends"),
    ("payments/src/store/books.rs", "FROM ledger WHERE order_id > $1", "an audit"),
    ("payments/src/store/books.rs", "FROM refunds WHERE order_id > $1", "an audit"),
    ("payments/src/store/books.rs", "FROM attempts WHERE order_id > $1", "an audit"),
    ("inventory/src/store/mod.rs", "FROM movements WHERE sku > $1 AND sku <= $2", "an audit"),
    ("inventory/src/audit.rs", "FROM movements WHERE moved_at >= $1", "what is lost by a restore"),
    ("inventory/src/store/mod.rs", "SELECT DISTINCT m.sku FROM movements m", "an audit"),
    ("payments/src/store/mod.rs", "FROM payments WHERE order_id > $1 ORDER BY order_id", "an audit"),
    ("inventory/src/store/mod.rs", "FROM holds WHERE order_id > $1 ORDER BY order_id", "an audit"),
    ("inventory/src/store/mod.rs", "FROM hold_lines WHERE order_id > $1 AND order_id <= $2", "an audit"),
    ("inventory/src/store/mod.rs", "FROM holds h JOIN hold_lines l", "an audit"),
];

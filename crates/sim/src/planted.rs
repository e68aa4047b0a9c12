//! Faults that are planted to see that they are found.

/// Every fault that can be planted: its name, and what it does.
pub const PLANTED: &[(&str, &str)] = &[
    ("event_outside_its_transaction", "an event is saved in a second transaction, behind the change"),
    ("sent_before_it_is_heard", "the relay marks an event as sent before anybody has heard it"),
    (
        "inbox_forgets",
        "a consumer does not look whether it has heard an event before, and its mails have no key either",
    ),
    ("key_is_forgotten", "an idempotency key is neither saved nor looked up"),
    ("answered_before_the_commit", "a change is answered before it is committed"),
    ("job_is_done_before_its_work", "a job is marked done before its work is"),
    ("order_moves_past_others", "a worker saves over what another has done, without lease or version"),
    ("step_begins_unrecorded", "a step is recorded when it has ended, not when it begins"),
    ("stock_is_read_before_it_is_changed", "how many are held is decided from an earlier look"),
    ("undo_leaves_no_mark", "a hold that arrives after its undo is taken"),
    ("hold_released_twice", "a hold that was released is released again"),
    ("expired_hold_is_sold", "a hold that was given back is sold as if it were held"),
    ("retry_with_a_new_key", "each try at the provider has a key of its own"),
    ("silence_is_a_refusal", "a provider that does not answer is taken to have refused"),
];

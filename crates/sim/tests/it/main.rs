//! Seeds of the simulated shop.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};

use sim::{Plan, Template, run};

static TEMPLATE: LazyLock<Arc<Template>> = LazyLock::new(|| Arc::new(Template::new()));

#[test]
fn the_same_seed_does_the_same_again() {
    for seed in 1..=20 {
        let plan = Plan::of(seed, None);
        assert_eq!(run(&TEMPLATE, &plan), run(&TEMPLATE, &plan), "seed {seed}");
    }
}

//! Makes a plan that breaks a promise as small as it can be.

use std::sync::Arc;

use crate::{Outcome, Plan, Template, network::Weather, run};

/// Leaves out whatever is not needed for a breach: faults, visits, processes,
/// delays. Returns the smallest plan that was found, with its outcome.
pub fn shrink(template: &Arc<Template>, plan: Plan) -> (Plan, Outcome) {
    let mut outcome = run(template, &plan);
    let mut plan = plan;
    let breaks = |plan: &Plan| Some(run(template, plan)).filter(|outcome| !outcome.breaches.is_empty());
    loop {
        let smaller = smaller(&plan).into_iter().find_map(|plan| Some((breaks(&plan)?, plan)));
        match smaller {
            Some((found, left)) => (outcome, plan) = (found, left),
            None => return (plan, outcome),
        }
    }
}

/// Every plan that has one thing less.
fn smaller(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        plans.push(smaller);
    };
    if plan.delays > 0 {
        add(&|plan| plan.delays = 0);
    }
    if plan.weather != Weather::default() {
        add(&|plan| plan.weather = Weather::default());
    }
    if plan.apart {
        add(&|plan| plan.apart = false);
    }
    for at in 0..plan.faults.len() {
        add(&|plan| _ = plan.faults.remove(at));
    }
    for at in 0..plan.visits.len() {
        add(&|plan| _ = plan.visits.remove(at));
    }
    plans
}

//! The way of an order: which step follows, what undoes it, and where its
//! outcome leads. All of the saga's decisions are these plain functions.

use contracts::orders::OrderState;
use kernel::{Time, words};
use serde::{Deserialize, Serialize};

use OrderState::*;

words! {
    /// One thing the saga asks of another service.
    pub enum Step {
        /// Inventory holds every line or none.
        Hold = "hold",
        /// Payments scores the risk of fraud.
        Screen = "screen",
        /// The provider promises the money.
        Authorise = "authorise",
        /// Inventory turns the hold into a sale.
        Commit = "commit",
        /// The provider takes the money.
        Capture = "capture",
        /// Undoes `hold`.
        Release = "release",
        /// Undoes `authorise`.
        Void = "void",
        /// Undoes `commit`.
        Restock = "restock",
        /// Undoes `capture`.
        Refund = "refund",
    }
}

/// The steps that can be undone, each with what undoes it, in the order they
/// are taken. The way back goes from the bottom to the top.
const UNDO: &[(Step, Step)] = &[
    (Step::Hold, Step::Release),
    (Step::Authorise, Step::Void),
    (Step::Commit, Step::Restock),
    (Step::Capture, Step::Refund),
];

impl Step {
    /// The step that this one undoes, if it undoes one.
    pub fn undoes(self) -> Option<Step> {
        UNDO.iter().find(|(_, undo)| *undo == self).map(|(step, _)| *step)
    }
}

words! {
    /// What became of one attempt at a step.
    pub enum StepState {
        /// Asked; the answer is not known.
        Started = "started",
        /// It had its effect.
        Done = "done",
        /// It failed for now; whether it had its effect is not known.
        Failed = "failed",
        /// It was refused for good and had no effect.
        Refused = "refused",
        /// Its effect, if it had one, was undone.
        Undone = "undone",
    }
}

/// One attempt at a step, as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// At what.
    pub step: Step,
    /// Which, counted from 1.
    pub attempt: i64,
    /// What became of it.
    pub state: StepState,
    /// When it began.
    pub started_at: Time,
    /// When its outcome was recorded.
    pub ended_at: Option<Time>,
    /// Why it failed or was refused: a stable code.
    pub error: Option<String>,
    /// The same in words, for staff.
    pub detail: Option<String>,
}

db::from_row!(Attempt { step, attempt, state, started_at, ended_at, error, detail });

impl Attempt {
    /// It was begun and, for all we know, may have had its effect.
    pub fn may_have_happened(&self) -> bool {
        matches!(self.state, StepState::Started | StepState::Done | StepState::Failed)
    }

    /// The step whose effect this attempt has undone.
    pub fn undone(&self) -> Option<Step> {
        self.step.undoes().filter(|_| self.state == StepState::Done)
    }
}

/// How a step ended, when it did.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It had its effect.
    Done,
    /// Screening wants a person to look.
    Review,
    /// It never will: the code says why, and why the order is cancelled.
    Refused(String),
}

/// What the saga is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This step, or this step again.
    Take(Step),
    /// Nothing: the order is settled or waits for a person.
    Rest,
    /// Nothing is left to be undone: the order moves there.
    Move(OrderState),
}

/// All that the saga decides by: where an order stands and what was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Where it stands.
    pub state: OrderState,
    /// A person approved it in review: it goes on from there.
    pub approved: bool,
    /// It left the house: what was sold stays sold.
    pub shipped: bool,
    /// Every attempt so far, in the order they began.
    pub steps: Vec<Attempt>,
}

impl Standing {
    /// What is to be done next.
    pub fn next(&self) -> Next {
        match self.state {
            Placed => Next::Take(Step::Hold),
            Held if self.screened() => Next::Take(Step::Authorise),
            Held => Next::Take(Step::Screen),
            // What was held may have expired while a person looked.
            InReview if self.approved => Next::Take(Step::Hold),
            Authorised => Next::Take(Step::Commit),
            Committed => Next::Take(Step::Capture),
            Cancelling => self.undo().map_or(Next::Move(Cancelled), Next::Take),
            Refunding => self.undo().map_or(Next::Move(Refunded), Next::Take),
            InReview | Confirmed | Shipped | Delivered | Cancelled | Refunded => Next::Rest,
        }
    }

    /// Records that the attempt at `step` that is under way ended so. Returns
    /// where the order goes, if it goes anywhere.
    pub fn end(&mut self, step: Step, outcome: &Outcome) -> Option<OrderState> {
        let state = match outcome {
            Outcome::Done | Outcome::Review => StepState::Done,
            Outcome::Refused(_) => StepState::Refused,
        };
        if let Some(attempt) = self.latest_mut(step) {
            attempt.state = state;
        }
        let to = match (outcome, step.undoes()) {
            (Outcome::Done, Some(undone)) => self.undid(undone),
            (Outcome::Done, None) => reached(step),
            (Outcome::Review, _) => Some(InReview),
            (Outcome::Refused(_), _) => Some(Cancelling),
        };
        self.state = to.unwrap_or(self.state);
        to
    }

    /// Records that a step begins: the next attempt at it.
    pub fn begin(&mut self, step: Step, now: Time) -> Attempt {
        let attempt = self.latest(step).map_or(0, |latest| latest.attempt) + 1;
        let state = StepState::Started;
        let begun =
            Attempt { step, attempt, state, started_at: now, ended_at: None, error: None, detail: None };
        self.steps.push(begun.clone());
        begun
    }

    /// Records that the attempt at a step that is under way failed for now.
    pub fn fail(&mut self, step: Step) {
        if let Some(attempt) = self.latest_mut(step) {
            attempt.state = StepState::Failed;
        }
    }

    /// The latest attempt at a step.
    pub fn latest(&self, step: Step) -> Option<&Attempt> {
        self.steps.iter().rev().find(|attempt| attempt.step == step)
    }

    fn latest_mut(&mut self, step: Step) -> Option<&mut Attempt> {
        self.steps.iter_mut().rev().find(|attempt| attempt.step == step)
    }

    fn screened(&self) -> bool {
        self.latest(Step::Screen).is_some_and(|screen| screen.state == StepState::Done)
    }

    /// Marks a step as undone. Returns where the order goes when it was the last.
    fn undid(&mut self, step: Step) -> Option<OrderState> {
        for attempt in
            self.steps.iter_mut().filter(|attempt| attempt.step == step && attempt.may_have_happened())
        {
            attempt.state = StepState::Undone;
        }
        match self.next() {
            Next::Move(to) => Some(to),
            Next::Take(_) | Next::Rest => None,
        }
    }

    /// What undoes the last step that is not undone yet. A step whose outcome
    /// is unknown is undone too; one that was refused every time is not, but
    /// for a hold: an ask of it may still be on its way, and find stock when it
    /// arrives. (Authorising is refused for good by the attempt that is saved.)
    fn undo(&self) -> Option<Step> {
        let given_back = |step: Step| match self.state {
            // The stock was sold and the promise kept: only these two are left to be given back.
            Refunding => step == Step::Capture || step == Step::Commit && !self.shipped,
            _ => true,
        };
        let undone = |step: Step| {
            let mut attempts = self.steps.iter().filter(|attempt| attempt.step == step);
            let held_late = step == Step::Hold && self.may_be_held_late();
            !held_late && !attempts.any(Attempt::may_have_happened)
        };
        UNDO.iter().rev().find(|(step, _)| given_back(*step) && !undone(*step)).map(|(_, undo)| *undo)
    }

    /// Whether a hold was refused, and nothing keeps one that comes late from
    /// being taken.
    fn may_be_held_late(&self) -> bool {
        let stands = |step: Step, state: StepState| self.latest(step).is_some_and(|at| at.state == state);
        stands(Step::Hold, StepState::Refused) && !stands(Step::Release, StepState::Done)
    }
}

/// Why the order is cancelled when a step answers with this code; nothing when
/// the code does not say that it never will.
pub fn refusal(step: Step, code: &str) -> Option<&'static str> {
    Some(match (step, code) {
        (Step::Hold | Step::Commit, "out_of_stock") => "out_of_stock",
        (Step::Authorise, "card_declined") => "card_declined",
        (Step::Authorise, "insufficient_funds") => "insufficient_funds",
        (Step::Authorise, "unknown_token") => "unknown_token",
        (Step::Capture, "capture_refused") => "payment_failed",
        _ => return None,
    })
}

/// Where an order comes to stand when this step is done.
fn reached(step: Step) -> Option<OrderState> {
    match step {
        Step::Hold => Some(Held),
        Step::Authorise => Some(Authorised),
        Step::Commit => Some(Committed),
        Step::Capture => Some(Confirmed),
        Step::Screen | Step::Release | Step::Void | Step::Restock | Step::Refund => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::may_move;

    fn attempt(step: Step, state: StepState) -> Attempt {
        let started_at = Time::default();
        Attempt { step, attempt: 1, state, started_at, ended_at: None, error: None, detail: None }
    }

    fn standing(state: OrderState, steps: &[(Step, StepState)]) -> Standing {
        let steps = steps.iter().map(|(step, state)| attempt(*step, *state)).collect();
        Standing { state, approved: false, shipped: false, steps }
    }

    const D: StepState = StepState::Done;
    const ALL_DONE: &[(Step, StepState)] =
        &[(Step::Hold, D), (Step::Screen, D), (Step::Authorise, D), (Step::Commit, D), (Step::Capture, D)];

    #[test]
    fn every_state_has_its_next_step() {
        use Step::*;
        for (state, done, next) in [
            (Placed, 0, Next::Take(Hold)),
            (Held, 1, Next::Take(Screen)),
            (Held, 2, Next::Take(Authorise)),
            (InReview, 2, Next::Rest),
            (OrderState::Authorised, 3, Next::Take(Commit)),
            (Committed, 4, Next::Take(Capture)),
            (Confirmed, 5, Next::Rest),
            (Shipped, 5, Next::Rest),
            (Delivered, 5, Next::Rest),
            (Cancelling, 5, Next::Take(Refund)),
            (Cancelling, 4, Next::Take(Restock)),
            (Cancelling, 3, Next::Take(Void)),
            (Cancelling, 2, Next::Take(Release)),
            (Cancelling, 1, Next::Take(Release)),
            (Cancelling, 0, Next::Move(Cancelled)),
            (Cancelled, 1, Next::Rest),
            (Refunding, 5, Next::Take(Refund)),
            (Refunding, 4, Next::Take(Restock)),
            (Refunding, 3, Next::Move(Refunded)),
            (Refunded, 3, Next::Rest),
        ] {
            assert_eq!(standing(state, &ALL_DONE[..done]).next(), next, "{state} with {done} steps done");
        }
    }

    #[test]
    fn an_approved_order_is_held_again_and_not_screened_again() {
        let mut order = standing(InReview, &ALL_DONE[..2]);
        order.approved = true;

        assert_eq!(order.next(), Next::Take(Step::Hold));
        assert_eq!(order.end(Step::Hold, &Outcome::Done), Some(Held));
        assert_eq!(order.next(), Next::Take(Step::Authorise));
    }

    #[test]
    fn what_may_have_happened_is_undone_and_what_was_refused_is_not() {
        for (state, undo) in [
            (StepState::Started, Next::Take(Step::Void)),
            (StepState::Failed, Next::Take(Step::Void)),
            (StepState::Done, Next::Take(Step::Void)),
            (StepState::Refused, Next::Take(Step::Release)),
            (StepState::Undone, Next::Take(Step::Release)),
        ] {
            let order = standing(Cancelling, &[(Step::Hold, D), (Step::Authorise, state)]);
            assert_eq!(order.next(), undo, "authorise {state}");
        }
    }

    #[test]
    fn a_refusal_after_an_unknown_outcome_still_undoes_it() {
        let mut order =
            standing(Placed, &[(Step::Hold, StepState::Failed), (Step::Hold, StepState::Started)]);

        assert_eq!(order.end(Step::Hold, &Outcome::Refused("out_of_stock".into())), Some(Cancelling));
        assert_eq!(order.next(), Next::Take(Step::Release));
    }

    #[test]
    fn a_refused_hold_is_released_once_lest_it_comes_late() {
        let mut order = standing(Placed, &[(Step::Hold, StepState::Started)]);

        assert_eq!(order.end(Step::Hold, &Outcome::Refused("out_of_stock".into())), Some(Cancelling));
        assert_eq!(order.next(), Next::Take(Step::Release));
        order.begin(Step::Release, Time::default());
        assert_eq!(order.end(Step::Release, &Outcome::Done), Some(Cancelled));
        assert_eq!(order.next(), Next::Rest);
    }

    #[test]
    fn what_was_shipped_is_not_put_back() {
        let mut order = standing(Refunding, ALL_DONE);
        order.shipped = true;
        order.steps.push(attempt(Step::Refund, StepState::Started));

        assert_eq!(order.next(), Next::Take(Step::Refund));
        assert_eq!(order.end(Step::Refund, &Outcome::Done), Some(Refunded));
    }

    /// Walks every order that can be, whatever each step answers and whenever
    /// somebody cancels, and looks at each move.
    #[test]
    fn no_path_leaves_the_drawn_arrows_and_every_path_ends() {
        let mut ends = std::collections::BTreeMap::<OrderState, usize>::new();
        walk(standing(Placed, &[]), 0, &mut ends);

        let reached: Vec<OrderState> = ends.keys().copied().collect();
        assert_eq!(reached, [InReview, Confirmed, Cancelled]);
    }

    fn walk(order: Standing, depth: usize, ends: &mut std::collections::BTreeMap<OrderState, usize>) {
        assert!(depth < 24, "{order:?} goes on for ever");
        if may_move(order.state, Cancelling) && order.steps.iter().any(|a| a.may_have_happened()) {
            let cancelled = Standing { state: Cancelling, ..order.clone() };
            walk(cancelled, depth + 1, ends);
        }
        let step = match order.next() {
            Next::Take(step) => step,
            Next::Move(to) => {
                assert!(may_move(order.state, to), "{} → {to}", order.state);
                return walk(Standing { state: to, ..order }, depth + 1, ends);
            }
            Next::Rest => {
                *ends.entry(order.state).or_default() += 1;
                check_end(&order);
                if order.state == InReview {
                    walk(Standing { approved: true, ..order }, depth + 1, ends);
                }
                return;
            }
        };
        let mut outcomes = vec![Outcome::Done];
        if step.undoes().is_none() {
            outcomes.push(Outcome::Refused("no".into()));
        }
        if step == Step::Screen {
            outcomes.push(Outcome::Review);
        }
        let mut begun = order.clone();
        begun.steps.push(attempt(step, StepState::Started));
        for outcome in outcomes {
            let mut after = begun.clone();
            if let Some(to) = after.end(step, &outcome) {
                assert!(may_move(order.state, to), "{} → {to} by {step} {outcome:?}", order.state);
            }
            walk(after, depth + 1, ends);
        }
        if may_move(order.state, Cancelling) {
            // The step is under way while somebody cancels.
            walk(Standing { state: Cancelling, ..begun }, depth + 1, ends);
        }
    }

    fn check_end(order: &Standing) {
        let kept = |step| order.steps.iter().any(|a| a.step == step && a.may_have_happened());
        match order.state {
            Cancelled => assert!(UNDO.iter().all(|(step, _)| !kept(*step)), "{order:?}"),
            Confirmed => assert!(ALL_DONE.iter().all(|(step, _)| kept(*step)), "{order:?}"),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_saga_ends_and_keeps_only_what_its_end_says(
            chances in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let (order, kept) = live(&chances);
            let undoable: BTreeSet<Step> = UNDO.iter().map(|(step, _)| *step).collect();
            let due = match order.state {
                Cancelled => BTreeSet::new(),
                Confirmed => undoable,
                Refunded if order.shipped => undoable.into_iter().filter(|step| *step != Step::Capture).collect(),
                Refunded => BTreeSet::from([Step::Hold, Step::Authorise]),
                Shipped => undoable,
                state => return Err(TestCaseError::fail(format!("it ends {state}"))),
            };
            prop_assert_eq!(kept, due, "{:?}", order);
        }
    }

    /// An order to its end, and the effects that are left. Each chance decides
    /// what happens next: 0 that all goes well, as it does when they run out.
    fn live(chances: &[u8]) -> (Standing, BTreeSet<Step>) {
        let (mut order, mut kept) = (standing(Placed, &[]), BTreeSet::new());
        for at in 0..chances.len() + 20 {
            let chance = chances.get(at).map_or(0, |chance| chance % 9);
            let before = order.state;
            match order.next() {
                _ if chance == 1 && may_move(before, Cancelling) => order.state = Cancelling,
                Next::Take(step) => take(&mut order, step, chance, &mut kept),
                Next::Move(to) => order.state = to,
                Next::Rest => match (order.state, chance) {
                    (InReview, _) => order.approved = true,
                    (Confirmed | Shipped, 1) => order.state = Refunding,
                    (Confirmed, 2) => (order.state, order.shipped) = (Shipped, true),
                    _ => return (order, kept),
                },
            }
            assert!(before == order.state || may_move(before, order.state), "{before} → {}", order.state);
        }
        panic!("{order:?} goes on for ever");
    }

    fn take(order: &mut Standing, step: Step, chance: u8, kept: &mut BTreeSet<Step>) {
        let forward = step.undoes().is_none();
        let mut has_effect = || match step.undoes() {
            Some(undone) => kept.remove(&undone),
            None => step != Step::Screen && kept.insert(step),
        };
        order.begin(step, Time::default());
        match chance {
            2 if forward => {
                order.end(step, &Outcome::Refused("no".into()));
            }
            3 if step == Step::Screen => {
                order.end(step, &Outcome::Review);
            }
            4 => order.fail(step),
            5 => {
                has_effect();
                order.fail(step);
            }
            6 => {} // the process died before it asked
            // And here behind it.
            7 => {
                has_effect();
            }
            _ => {
                has_effect();
                order.end(step, &Outcome::Done);
            }
        }
    }
}

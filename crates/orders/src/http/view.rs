//! An order as people see it.

use contracts::orders::{OrderLine, OrderState};
use kernel::{Money, OrderId, Time, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use web::Versioned;

use crate::model::{Address, Attempt, Details, Entry, Order, Step, StepState};

/// An order.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OrderView {
    /// Which.
    #[schema(inline)]
    id: OrderId,
    /// What people call it.
    #[schema(example = "C-7F3K9Q2M")]
    number: String,
    /// Who bought.
    #[schema(inline)]
    customer: UserId,
    /// Where it stands.
    #[schema(inline)]
    state: OrderState,
    /// Why it was cancelled: a stable code.
    reason: Option<String>,
    /// What was bought.
    lines: Vec<OrderLine>,
    /// What it costs.
    #[schema(inline)]
    total: Money,
    /// Where it goes to.
    address: Address,
    /// How it travels, once it does.
    shipment: Option<ShipmentView>,
    /// What screening found; for staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    screening: Option<String>,
    /// What was tried to fulfil it, or to undo that.
    steps: Vec<StepView>,
    /// Where it stood.
    history: Vec<EntryView>,
    /// Counts its changes.
    version: i64,
    /// When it was placed.
    #[schema(inline)]
    placed_at: Time,
    /// When it last changed.
    #[schema(inline)]
    updated_at: Time,
}

/// How an order travels.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShipmentView {
    /// With whom.
    carrier: Option<String>,
    /// By what name the carrier knows it.
    tracking: Option<String>,
    /// Since when.
    #[schema(inline)]
    shipped_at: Time,
}

/// One attempt at a step.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StepView {
    /// At what.
    #[schema(inline)]
    step: Step,
    /// Which, counted from 1.
    attempt: i64,
    /// What became of it.
    #[schema(inline)]
    state: StepState,
    /// When it began.
    #[schema(inline)]
    started_at: Time,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Time>,
    /// Why it failed or was refused: a stable code.
    error: Option<String>,
    /// The same in words; for staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// One line of the history.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntryView {
    /// Where it stood since.
    #[schema(inline)]
    state: OrderState,
    /// Why.
    reason: Option<String>,
    /// Since when.
    #[schema(inline)]
    at: Time,
    /// The order's version then.
    version: i64,
    /// The person who did it, if it was one; for staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    actor: Option<UserId>,
}

impl OrderView {
    /// With what only staff may see.
    pub fn for_staff(details: Details) -> OrderView {
        let Details { order, lines, steps, history } = details;
        let Order { carrier, tracking, .. } = order;
        let shipment = order.shipped_at.map(|shipped_at| ShipmentView { carrier, tracking, shipped_at });
        OrderView {
            id: order.id,
            number: order.number,
            customer: order.customer,
            state: order.state,
            reason: order.reason,
            lines,
            total: order.total,
            address: order.address,
            shipment,
            screening: order.screening,
            steps: steps.into_iter().map(StepView::from).collect(),
            history: history.into_iter().map(EntryView::from).collect(),
            version: order.version,
            placed_at: order.placed_at,
            updated_at: order.updated_at,
        }
    }

    /// Without it.
    pub fn for_customer(details: Details) -> OrderView {
        let mut view = OrderView::for_staff(details);
        view.screening = None;
        view.steps.iter_mut().for_each(|step| step.detail = None);
        view.history.iter_mut().for_each(|entry| entry.actor = None);
        view
    }

    /// With the tag of its version.
    pub fn versioned(self) -> Versioned<OrderView> {
        Versioned::new(self.version, self)
    }
}

impl From<Attempt> for StepView {
    fn from(attempt: Attempt) -> StepView {
        let Attempt { step, attempt, state, started_at, ended_at, error, detail } = attempt;
        StepView { step, attempt, state, started_at, ended_at, error, detail }
    }
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> EntryView {
        let Entry { version, state, reason, actor, at } = entry;
        EntryView { state, reason, at, version, actor }
    }
}

/// An order in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OrderSummary {
    /// Which.
    #[schema(inline)]
    id: OrderId,
    /// What people call it.
    number: String,
    /// Who bought.
    #[schema(inline)]
    customer: UserId,
    /// Where it stands.
    #[schema(inline)]
    state: OrderState,
    /// Why it was cancelled: a stable code.
    reason: Option<String>,
    /// What it costs.
    #[schema(inline)]
    total: Money,
    /// Counts its changes.
    version: i64,
    /// When it was placed.
    #[schema(inline)]
    placed_at: Time,
    /// When it last changed.
    #[schema(inline)]
    updated_at: Time,
}

impl From<Order> for OrderSummary {
    fn from(order: Order) -> OrderSummary {
        let Order { id, number, customer, state, reason, total, version, placed_at, updated_at, .. } = order;
        OrderSummary { id, number, customer, state, reason, total, version, placed_at, updated_at }
    }
}

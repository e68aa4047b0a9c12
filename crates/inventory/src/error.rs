//! Why something was not done.

use kernel::{Error, OrderId, Sku};

/// Why nothing was held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There is too little of a SKU.
    #[error("{sku} is out of stock")]
    OutOfStock {
        /// Of which.
        sku: Sku,
    },
    /// The order was undone before this arrived.
    #[error("{order} was undone: nothing is held for it any more")]
    Undone {
        /// Which.
        order: OrderId,
    },
    /// It was asked before with other lines.
    #[error("{order} holds other lines already")]
    OtherLines {
        /// Which.
        order: OrderId,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<HoldError> for Error {
    fn from(error: HoldError) -> Error {
        let message = error.to_string();
        match error {
            HoldError::OutOfStock { .. } => Error::conflict("out_of_stock", message),
            HoldError::Undone { .. } => Error::conflict("order_undone", message),
            HoldError::OtherLines { .. } => Error::new(kernel::Kind::Mismatch, "hold_differs", message),
            HoldError::Other(error) => error,
        }
    }
}

/// Why nothing was sold.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The hold had expired, and there is too little of a SKU now.
    #[error("{sku} is out of stock")]
    OutOfStock {
        /// Of which.
        sku: Sku,
    },
    /// The order was undone before this arrived.
    #[error("{order} was undone: nothing is sold to it any more")]
    Undone {
        /// Which.
        order: OrderId,
    },
    /// Nothing was ever held for it.
    #[error("nothing is held for {order}")]
    NothingHeld {
        /// Which.
        order: OrderId,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Error {
        let message = error.to_string();
        match error {
            CommitError::OutOfStock { .. } => Error::conflict("out_of_stock", message),
            CommitError::Undone { .. } => Error::conflict("order_undone", message),
            CommitError::NothingHeld { .. } => Error::not_found("nothing_held", message),
            CommitError::Other(error) => error,
        }
    }
}

/// Why stock was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// More was to be taken than nobody holds.
    #[error("of {sku} only {available} are free, the others are held for orders or not there")]
    Held {
        /// Of which.
        sku: Sku,
        /// How many could be taken.
        available: i64,
    },
    /// There never was any.
    #[error("there is no stock of {sku}")]
    NoSuchStock {
        /// Of which.
        sku: Sku,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<MoveError> for Error {
    fn from(error: MoveError) -> Error {
        let message = error.to_string();
        match error {
            MoveError::Held { .. } => Error::conflict("stock_held", message),
            MoveError::NoSuchStock { .. } => Error::not_found("no_such_stock", message),
            MoveError::Other(error) => error,
        }
    }
}

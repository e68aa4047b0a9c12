//! What somebody wants to buy, checked.

use contracts::{catalog::Priced, inventory::Line, orders::OrderLine};
use kernel::{Error, Kind, Money, MoneyError, Sku};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most lines of one order.
const MOST_LINES: usize = 100;
/// The most pieces of one SKU.
const MOST_PIECES: u32 = 10_000;

/// Why an order was not placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// There is nothing in it.
    #[error("the basket is empty")]
    EmptyBasket,
    /// There is too much in it.
    #[error("an order has at most {MOST_LINES} lines, not {0}")]
    TooManyLines(usize),
    /// A line asks for too few or too many.
    #[error("of {sku} one can order 1 to {MOST_PIECES}, not {quantity}")]
    Quantity {
        /// Of what.
        sku: Sku,
        /// How many.
        quantity: u64,
        /// In which line, counted from 0.
        line: usize,
    },
    /// Nobody sells it.
    #[error("{sku} is not for sale")]
    NotSold {
        /// What.
        sku: Sku,
    },
    /// The prices are in more than one currency.
    #[error("the basket mixes currencies: {0} and {1}")]
    MixedCurrencies(kernel::Currency, kernel::Currency),
    /// The sum does not fit.
    #[error("the total is too large")]
    TotalTooLarge,
    /// Something else went wrong.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<PlaceError> for Error {
    fn from(error: PlaceError) -> Error {
        let message = error.to_string();
        match error {
            PlaceError::Other(error) => error,
            PlaceError::EmptyBasket | PlaceError::TooManyLines(_) => Error::invalid_field("/lines", message),
            PlaceError::Quantity { line, .. } => {
                Error::invalid_field(format!("/lines/{line}/quantity"), message)
            }
            PlaceError::NotSold { .. } => Error::conflict("not_sold", message),
            PlaceError::MixedCurrencies(..) => Error::conflict("mixed_currencies", message),
            PlaceError::TotalTooLarge => Error::new(Kind::Invalid, "total_too_large", message),
        }
    }
}

impl From<MoneyError> for PlaceError {
    fn from(error: MoneyError) -> PlaceError {
        match error {
            MoneyError::Currencies(one, other) => PlaceError::MixedCurrencies(one, other),
            MoneyError::TooLarge => PlaceError::TotalTooLarge,
        }
    }
}

/// What somebody wants to buy: never empty, each SKU once.
#[derive(Clone, Debug, PartialEq)]
pub struct Basket(Vec<Line>);

impl Basket {
    /// Checks the lines; those of one SKU become one.
    pub fn new(lines: Vec<Line>) -> Result<Basket, PlaceError> {
        if lines.is_empty() {
            return Err(PlaceError::EmptyBasket);
        }
        if lines.len() > MOST_LINES {
            return Err(PlaceError::TooManyLines(lines.len()));
        }
        let mut merged = Vec::<Line>::with_capacity(lines.len());
        for (at, Line { sku, quantity }) in lines.into_iter().enumerate() {
            let known = merged.iter().position(|line| line.sku == sku);
            let before = known.map_or(0, |known| merged[known].quantity);
            let sum = u64::from(before) + u64::from(quantity);
            if quantity == 0 || sum > u64::from(MOST_PIECES) {
                return Err(PlaceError::Quantity { sku, quantity: sum, line: at });
            }
            match known {
                Some(known) => merged[known].quantity += quantity,
                None => merged.push(Line { sku, quantity }),
            }
        }
        Ok(Basket(merged))
    }

    /// What is in it.
    pub fn skus(&self) -> Vec<Sku> {
        self.0.iter().map(|line| line.sku.clone()).collect()
    }

    /// The lines of an order at these prices, and what they cost together.
    pub fn priced(&self, prices: &[Priced]) -> Result<(Vec<OrderLine>, Money), PlaceError> {
        let mut lines = Vec::with_capacity(self.0.len());
        let mut total: Option<Money> = None;
        for Line { sku, quantity } in &self.0 {
            let priced = prices.iter().find(|priced| priced.sku == *sku);
            let Priced { name, price, .. } =
                priced.ok_or_else(|| PlaceError::NotSold { sku: sku.clone() })?;
            let cost = price.times(*quantity)?;
            total = Some(total.map_or(Ok(cost), |total| total.plus(cost))?);
            lines.push(OrderLine {
                sku: sku.clone(),
                name: name.clone(),
                quantity: *quantity,
                price: *price,
            });
        }
        Ok((lines, total.ok_or(PlaceError::EmptyBasket)?))
    }
}

/// Where an order goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Whose.
    #[schema(min_length = 1, max_length = 200, example = "Ann Example")]
    pub name: String,
    /// Street and house.
    #[schema(min_length = 1, max_length = 200, example = "1 Harbour Street")]
    pub line1: String,
    /// Flat, floor, company.
    #[schema(max_length = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// City.
    #[schema(min_length = 1, max_length = 200, example = "Hamburg")]
    pub city: String,
    /// Postal code.
    #[schema(min_length = 1, max_length = 20, example = "20095")]
    pub postal_code: String,
    /// Two letters of ISO 3166-1.
    #[schema(pattern = "^[A-Z]{2}$", example = "DE")]
    pub country: String,
}

impl Address {
    /// Checks that a parcel could be labelled with it.
    pub fn check(&self) -> Result<(), Error> {
        let must = [
            ("name", &self.name, 200),
            ("line1", &self.line1, 200),
            ("city", &self.city, 200),
            ("postal_code", &self.postal_code, 20),
        ];
        for (field, text, most) in must {
            if text.trim().is_empty() || !fits(text, most) {
                let message = format!("{field} is 1 to {most} characters on one line");
                return Err(Error::invalid_field(format!("/address/{field}"), message));
            }
        }
        if self.line2.as_ref().is_some_and(|text| !fits(text, 200)) {
            return Err(Error::invalid_field(
                "/address/line2",
                "line2 is at most 200 characters on one line",
            ));
        }
        if self.country.len() != 2 || !self.country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            let message =
                format!("a country is two capital letters of ISO 3166-1, such as DE, not {:?}", self.country);
            return Err(Error::invalid_field("/address/country", message));
        }
        Ok(())
    }
}

fn fits(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::{Currency, ProductId, World};

    fn line(sku: &str, quantity: u32) -> Line {
        Line { sku: sku.parse().unwrap(), quantity }
    }

    fn priced(sku: &str, amount: i64, currency: &str) -> Priced {
        Priced {
            sku: sku.parse().unwrap(),
            product: ProductId::new(&World::real()),
            name: sku.into(),
            price: Money::new(amount, currency.parse().unwrap()),
        }
    }

    #[test]
    fn a_basket_is_checked() {
        let code = |lines| {
            Basket::new(lines).map(|_| "fine".to_owned()).unwrap_or_else(|error| format!("{error:?}"))
        };
        for (lines, outcome) in [
            (vec![], "EmptyBasket"),
            (vec![line("mug", 1)], "fine"),
            (vec![line("mug", 0)], "Quantity"),
            (vec![line("mug", 10_000)], "fine"),
            (vec![line("mug", 10_001)], "Quantity"),
            (vec![line("mug", 9_999), line("mug", 2)], "Quantity"),
            (vec![line("mug", u32::MAX), line("mug", u32::MAX)], "Quantity"),
            ((0..101).map(|n| line(&format!("mug-{n}"), 1)).collect(), "TooManyLines"),
        ] {
            assert!(code(lines.clone()).starts_with(outcome), "{lines:?} {outcome}");
        }
    }

    #[test]
    fn lines_of_one_sku_become_one_and_are_added_up() {
        let basket = Basket::new(vec![line("mug", 1), line("cup", 2), line("mug", 3)]).unwrap();
        let (lines, total) = basket.priced(&[priced("cup", 5, "EUR"), priced("mug", 100, "EUR")]).unwrap();

        assert_eq!(
            lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect::<Vec<_>>(),
            [("mug", 4), ("cup", 2)]
        );
        assert_eq!(total, Money::new(410, Currency::EUR));
    }

    #[test]
    fn a_basket_without_one_price_each_is_refused() {
        let basket = Basket::new(vec![line("mug", 2), line("cup", 1)]).unwrap();

        let not_sold = basket.priced(&[priced("mug", 1, "EUR")]).unwrap_err();
        assert_eq!(not_sold.to_string(), "cup is not for sale");
        let mixed = basket.priced(&[priced("mug", 1, "EUR"), priced("cup", 1, "USD")]).unwrap_err();
        assert!(matches!(mixed, PlaceError::MixedCurrencies(..)));
        let large = basket.priced(&[priced("mug", i64::MAX, "EUR"), priced("cup", 1, "EUR")]).unwrap_err();
        assert!(matches!(large, PlaceError::TotalTooLarge));
    }

    #[test]
    fn an_address_is_checked() {
        let good = Address {
            name: "Ann".into(),
            line1: "1 Harbour Street".into(),
            line2: None,
            city: "Hamburg".into(),
            postal_code: "20095".into(),
            country: "DE".into(),
        };
        assert!(good.check().is_ok());
        for (bad, pointer) in [
            (Address { name: " ".into(), ..good.clone() }, "/address/name"),
            (Address { line1: "a\nb".into(), ..good.clone() }, "/address/line1"),
            (Address { line2: Some("x".repeat(201)), ..good.clone() }, "/address/line2"),
            (Address { postal_code: "1".repeat(21), ..good.clone() }, "/address/postal_code"),
            (Address { country: "de".into(), ..good.clone() }, "/address/country"),
        ] {
            assert_eq!(bad.check().unwrap_err().fields[0].pointer, pointer);
        }
    }
}

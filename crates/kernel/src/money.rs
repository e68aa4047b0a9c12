//! Money: whole minor units of one currency (ISO 4217).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{FromValue, ToValue, Value, ValueRef};

/// A currency code of ISO 4217: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The euro.
    pub const EUR: Currency = Currency(*b"EUR");

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("three ASCII letters, checked when it was made")
    }

    /// How many digits its minor unit has (ISO 4217, the exponents other than 2).
    pub fn digits(&self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF"
            | b"UGX" | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }
}

impl FromStr for Currency {
    type Err = String;
    fn from_str(text: &str) -> Result<Currency, String> {
        match text.as_bytes() {
            &[a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Currency([a, b, c])),
            _ => Err(format!("a currency is three capital letters of ISO 4217, such as EUR, not {text:?}")),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Currency, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl ToValue for Currency {
    fn to_value(self) -> Value {
        Value::Text(self.as_str().to_owned())
    }
}

impl FromValue for Currency {
    fn from_value(value: ValueRef<'_>) -> Result<Currency, String> {
        value.text()?.parse()
    }
}

/// An amount in the smallest unit of its currency: `{"amount": 1200,
/// "currency": "EUR"}` is twelve euros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units: cents for EUR, yen for JPY.
    pub amount: i64,
    /// ISO 4217.
    pub currency: Currency,
}

/// Why amounts could not be added up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies met.
    #[error("{0} and {1} cannot be added up")]
    Currencies(Currency, Currency),
    /// The sum does not fit.
    #[error("the amount is too large")]
    TooLarge,
}

impl Money {
    /// So many minor units of a currency.
    pub const fn new(amount: i64, currency: Currency) -> Money {
        Money { amount, currency }
    }

    /// Nothing of a currency.
    pub const fn zero(currency: Currency) -> Money {
        Money { amount: 0, currency }
    }

    /// The sum, of one currency, if it fits.
    pub fn plus(self, other: Money) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Currencies(self.currency, other.currency));
        }
        let amount = self.amount.checked_add(other.amount).ok_or(MoneyError::TooLarge)?;
        Ok(Money { amount, ..self })
    }

    /// So many times the amount, if it fits.
    pub fn times(self, count: u32) -> Result<Money, MoneyError> {
        let amount = self.amount.checked_mul(count.into()).ok_or(MoneyError::TooLarge)?;
        Ok(Money { amount, ..self })
    }
}

impl fmt::Display for Money {
    /// `12.00 EUR`, `1200 JPY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.currency.digits() as usize;
        let sign = if self.amount < 0 { "-" } else { "" };
        let unit = 10u64.pow(digits as u32);
        let (whole, part) = (self.amount.unsigned_abs() / unit, self.amount.unsigned_abs() % unit);
        match digits {
            0 => write!(f, "{sign}{whole} {}", self.currency),
            _ => write!(f, "{sign}{whole}.{part:0digits$} {}", self.currency),
        }
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_is_shown_with_the_digits_of_its_currency() {
        for (amount, currency, shown) in [
            (1200, "EUR", "12.00 EUR"),
            (5, "EUR", "0.05 EUR"),
            (-250, "USD", "-2.50 USD"),
            (1200, "JPY", "1200 JPY"),
            (1200, "KWD", "1.200 KWD"),
            (i64::MIN, "JPY", "-9223372036854775808 JPY"),
        ] {
            assert_eq!(Money::new(amount, currency.parse().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn currencies_do_not_mix_and_sums_do_not_wrap() {
        let (euro, yen) = (Money::new(1, Currency::EUR), Money::new(1, "JPY".parse().unwrap()));

        assert_eq!(euro.plus(yen), Err(MoneyError::Currencies(Currency::EUR, yen.currency)));
        assert_eq!(Money::new(i64::MAX, Currency::EUR).plus(euro), Err(MoneyError::TooLarge));
        assert_eq!(Money::new(i64::MAX, Currency::EUR).times(2), Err(MoneyError::TooLarge));
        assert!("eur".parse::<Currency>().is_err());
    }

    fn currency() -> impl Strategy<Value = Currency> {
        prop::array::uniform3(b'A'..=b'Z').prop_map(Currency)
    }

    proptest! {
        #[test]
        fn sums_and_multiples_are_exact_or_refused(a: i64, b: i64, count: u32, currency in currency()) {
            let money = |exact: i128| {
                i64::try_from(exact).map(|amount| Money::new(amount, currency)).map_err(|_| MoneyError::TooLarge)
            };
            let (one, other) = (Money::new(a, currency), Money::new(b, currency));

            prop_assert_eq!(one.plus(other), money(i128::from(a) + i128::from(b)));
            prop_assert_eq!(one.plus(other), other.plus(one));
            prop_assert_eq!(one.times(count), money(i128::from(a) * i128::from(count)));
        }

        #[test]
        fn what_is_shown_has_every_digit_of_the_amount(amount: i64, currency in currency()) {
            let shown = Money::new(amount, currency).to_string();
            let (number, code) = shown.split_once(' ').unwrap();

            prop_assert_eq!(number.replace('.', "").parse(), Ok(amount));
            prop_assert_eq!(number.split_once('.').map_or(0, |(_, part)| part.len()), currency.digits() as usize);
            prop_assert_eq!(code.parse(), Ok(currency));
        }

        #[test]
        fn any_text_is_a_currency_of_three_capitals_or_refused(text in "[A-Z]{2,4}|[A-Za-z]{3}|\\PC{0,4}") {
            let fits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
            let read = text.parse::<Currency>();

            prop_assert_eq!(read.is_ok(), fits, "{}", text);
            prop_assert!(read.is_ok_and(|currency| currency.as_str() == text) || !fits);
        }
    }
}

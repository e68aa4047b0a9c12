//! Mails about orders, from templates inside the program.

use contracts::orders::OrderInShort;
use kernel::{Error, Result};
use minijinja::{Environment, context};

use crate::{Occasion, Settings};

/// The templates, ready to be filled. Those named `.html` escape what is put
/// into them.
pub(crate) struct Templates {
    pages: Environment<'static>,
}

/// What a mail about an order is filled with.
pub(crate) struct Mail<'a> {
    /// What to call the customer.
    pub name: &'a str,
    /// The order.
    pub order: &'a OrderInShort,
    /// Why it was cancelled: a code.
    pub reason: Option<&'a str>,
}

macro_rules! page {
    ($name:literal) => {
        ($name, include_str!(concat!("../templates/", $name)))
    };
}

const PAGES: [(&str, &str); 12] = [
    page!("layout.txt"),
    page!("layout.html"),
    page!("lines.txt"),
    page!("lines.html"),
    page!("confirmed.txt"),
    page!("confirmed.html"),
    page!("shipped.txt"),
    page!("shipped.html"),
    page!("cancelled.txt"),
    page!("cancelled.html"),
    page!("refunded.txt"),
    page!("refunded.html"),
];

impl Templates {
    pub(crate) fn new(settings: &Settings) -> Templates {
        let mut pages = Environment::new();
        pages.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        pages.add_global("shop", &settings.shop);
        pages.add_global("shop_url", settings.shop_url.trim_end_matches('/'));
        for (name, page) in PAGES {
            pages.add_template(name, page).expect("the templates inside the program are tested");
        }
        Templates { pages }
    }

    /// The mail about an order: as text and as HTML.
    pub(crate) fn render(&self, occasion: Occasion, mail: &Mail<'_>) -> Result<(String, String)> {
        let fill = |form: &str| {
            let page = self.pages.get_template(&format!("{occasion}.{form}"));
            page.and_then(|page| page.render(values(mail))).map_err(Error::internal)
        };
        Ok((fill("txt")?, fill("html")?))
    }
}

fn values(mail: &Mail<'_>) -> minijinja::Value {
    let lines = mail.order.lines.iter().map(|line| {
        // An order of a sum that does not fit was never placed.
        let sum = line.price.times(line.quantity).map_or_else(|_| String::new(), |sum| sum.to_string());
        context! { name => &line.name, quantity => line.quantity, price => line.price.to_string(), sum }
    });
    context! {
        name => mail.name,
        number => &mail.order.number,
        order => mail.order.id.to_string(),
        total => mail.order.total.to_string(),
        lines => lines.collect::<Vec<_>>(),
        reason => mail.reason.map(in_words),
    }
}

/// The codes that an order is cancelled with, as a customer understands them.
fn in_words(reason: &str) -> &str {
    match reason {
        "out_of_stock" => "something you ordered is sold out",
        "card_declined" | "insufficient_funds" | "unknown_token" | "payment_failed" => {
            "your payment was declined"
        }
        "cancelled_by_customer" => "you asked us to",
        _ => "we could not fulfil it",
    }
}

#[cfg(test)]
mod tests {
    use contracts::orders::{OrderLine, OrderState};
    use kernel::{Currency, Money, OrderId, UserId, World};

    use super::*;

    fn order(product: &str) -> OrderInShort {
        let world = World::real();
        OrderInShort {
            id: OrderId::new(&world),
            number: "C-7F3K9Q2M".into(),
            customer: UserId::new(&world),
            state: OrderState::Confirmed,
            lines: vec![OrderLine {
                sku: "mug".parse().unwrap(),
                name: product.into(),
                quantity: 3,
                price: Money::new(1250, Currency::EUR),
            }],
            total: Money::new(3750, Currency::EUR),
        }
    }

    #[test]
    fn every_occasion_has_its_mail_in_both_forms() {
        let templates = Templates::new(&Settings::default());
        let order = order("Blue mug");
        for occasion in Occasion::ALL {
            let mail = Mail { name: "Ann", order: &order, reason: Some("out_of_stock") };

            let (text, html) = templates.render(*occasion, &mail).unwrap();

            for form in [&text, &html] {
                assert!(form.contains("Ann") && form.contains("C-7F3K9Q2M"), "{occasion}: {form}");
                assert!(form.contains("3 × Blue mug") && form.contains("37.50 EUR"), "{occasion}: {form}");
                assert!(!form.contains("out_of_stock"), "{occasion}: {form}");
            }
            assert!(!text.contains('<') && html.contains("<p>"), "{occasion}");
        }
    }

    #[test]
    fn what_others_wrote_is_escaped_in_html_and_left_alone_in_text() {
        let templates = Templates::new(&Settings::default());
        let order = order("<b>Mug</b> & \"saucer\"");
        let mail = Mail { name: "<script>alert(1)</script>", order: &order, reason: None };

        let (text, html) = templates.render(Occasion::Confirmed, &mail).unwrap();

        assert!(text.contains("<b>Mug</b> & \"saucer\""), "{text}");
        assert!(html.contains("&lt;b&gt;Mug&lt;&#x2f;b&gt; &amp; &quot;saucer&quot;"), "{html}");
        assert!(!html.contains("<b>") && !html.contains("<script>"), "{html}");
    }
}

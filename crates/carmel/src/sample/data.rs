//! What a sample shop sells: made from lists of words, always the same, so
//! that a tour in the documentation finds what it names.

/// A category: its slug, its name and the slug of its parent.
pub struct Category {
    pub slug: &'static str,
    pub name: &'static str,
    pub parent: Option<&'static str>,
}

/// A product with its variants.
pub struct Product {
    pub slug: String,
    pub name: String,
    pub description: String,
    pub category: &'static str,
    pub variants: Vec<Variant>,
}

/// What has a SKU, a price in cents and stock.
pub struct Variant {
    pub sku: String,
    pub name: String,
    pub price: i64,
    pub stock: i64,
}

pub const CATEGORIES: &[Category] = &[
    Category { slug: "kitchen", name: "Kitchen", parent: None },
    Category { slug: "drinking", name: "Cups and glasses", parent: Some("kitchen") },
    Category { slug: "cooking", name: "Pots and pans", parent: Some("kitchen") },
    Category { slug: "table", name: "Table", parent: Some("kitchen") },
    Category { slug: "living", name: "Living", parent: None },
    Category { slug: "light", name: "Light", parent: Some("living") },
    Category { slug: "textiles", name: "Textiles", parent: Some("living") },
    Category { slug: "desk", name: "Desk", parent: None },
    Category { slug: "writing", name: "Writing", parent: Some("desk") },
    Category { slug: "order", name: "Order", parent: Some("desk") },
    Category { slug: "outdoors", name: "Outdoors", parent: None },
    Category { slug: "garden", name: "Garden", parent: Some("outdoors") },
];

/// A kind of thing, its category and what the plainest one costs in cents.
const KINDS: &[(&str, &str, i64)] = &[
    ("mug", "drinking", 1200),
    ("teacup", "drinking", 950),
    ("tumbler", "drinking", 800),
    ("carafe", "drinking", 2900),
    ("saucepan", "cooking", 4900),
    ("skillet", "cooking", 5400),
    ("casserole", "cooking", 7900),
    ("kettle", "cooking", 6200),
    ("plate", "table", 1400),
    ("bowl", "table", 1600),
    ("tray", "table", 2400),
    ("napkin-set", "table", 1800),
    ("lamp", "light", 8900),
    ("lantern", "light", 3900),
    ("candle", "light", 900),
    ("blanket", "textiles", 6900),
    ("cushion", "textiles", 3400),
    ("rug", "textiles", 12900),
    ("fountain-pen", "writing", 4500),
    ("notebook", "writing", 1100),
    ("pencil-case", "writing", 1900),
    ("letter-tray", "order", 2600),
    ("box", "order", 1500),
    ("clock", "order", 5900),
    ("watering-can", "garden", 3200),
    ("planter", "garden", 2800),
    ("bench", "garden", 24900),
    ("bird-house", "garden", 3600),
];

/// A maker's line: its slug, its name and what it costs in percent of the plain one.
const LINES: &[(&str, &str, i64)] = &[
    ("", "", 100),
    ("harbour", "Harbour", 115),
    ("meadow", "Meadow", 110),
    ("atelier", "Atelier", 160),
    ("north", "North", 130),
    ("studio", "Studio", 145),
    ("field", "Field", 105),
    ("classic", "Classic", 120),
    ("orchard", "Orchard", 125),
    ("lighthouse", "Lighthouse", 135),
];

const COLOURS: &[(&str, &str)] =
    &[("blue", "blue"), ("white", "white"), ("green", "green"), ("ochre", "ochre"), ("charcoal", "charcoal")];

/// All products: every kind in every line, in one to five colours. The mug
/// without a line, in blue, has the SKU `mug-blue`.
pub fn products() -> Vec<Product> {
    let mut products = Vec::with_capacity(KINDS.len() * LINES.len());
    for (k, (kind, category, cents)) in KINDS.iter().enumerate() {
        for (l, (line, line_name, percent)) in LINES.iter().enumerate() {
            let slug = if line.is_empty() { (*kind).to_owned() } else { format!("{line}-{kind}") };
            let thing = kind.replace('-', " ");
            let name = match line_name {
                &"" => capitalised(&thing),
                name => format!("{name} {thing}"),
            };
            let price = round_to_ten_cents(cents * percent / 100);
            let colours = &COLOURS[..1 + (k + l) % COLOURS.len()];
            let variants = colours
                .iter()
                .enumerate()
                .map(|(c, (colour, colour_name))| Variant {
                    sku: format!("{slug}-{colour}"),
                    name: (*colour_name).to_owned(),
                    price: price + 50 * c as i64,
                    stock: 20 + ((k * 31 + l * 17 + c * 7) % 180) as i64,
                })
                .collect();
            let article = if thing.starts_with(['a', 'e', 'i', 'o', 'u']) { "An" } else { "A" };
            let description = match line_name {
                &"" => {
                    format!("{article} {thing} as it should be: plain, sturdy, made to be used every day.")
                }
                line => format!("{article} {thing} of our {line} line, made in small runs."),
            };
            products.push(Product { slug, name, description, category, variants });
        }
    }
    products
}

/// Customers: a name and an address each.
pub fn customers() -> Vec<(String, String)> {
    const FIRST: &[&str] =
        &["Ann", "Bob", "Chloe", "Dimitri", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jonas"];
    const LAST: &[&str] = &["Miller", "Okafor", "Silva", "Novak", "Lindqvist"];
    let name = |i: usize| (FIRST[i % FIRST.len()], LAST[i / FIRST.len() % LAST.len()]);
    (0..FIRST.len() * LAST.len())
        .map(|i| {
            let (first, last) = name(i);
            (format!("{first} {last}"), format!("{first}.{last}@example.com").to_lowercase())
        })
        .collect()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn round_to_ten_cents(cents: i64) -> i64 {
    (cents + 5) / 10 * 10
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_sku_slug_and_address_is_there_once_and_is_well_formed() {
        let products = products();
        let skus: Vec<&str> = products.iter().flat_map(|p| &p.variants).map(|v| v.sku.as_str()).collect();
        let categories: HashSet<&str> = CATEGORIES.iter().map(|c| c.slug).collect();

        assert!(products.len() >= 200, "a few hundred products");
        assert!(skus.contains(&"mug-blue"), "the tour of the README buys it");
        assert_eq!(skus.iter().collect::<HashSet<_>>().len(), skus.len());
        assert!(skus.iter().all(|sku| sku.parse::<kernel::Sku>().is_ok()));
        assert!(products.iter().all(|p| categories.contains(p.category)));
        assert!(products.iter().flat_map(|p| &p.variants).all(|v| v.price > 0 && v.stock > 0));
        assert!(customers().iter().all(|(_, email)| email.parse::<kernel::Email>().is_ok()));
        assert_eq!(customers().iter().collect::<HashSet<_>>().len(), 50);
    }
}

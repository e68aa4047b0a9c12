use kernel::{Currency, World};

use super::*;

#[test]
fn what_was_for_sale_is_never_a_draft_again() {
    use ProductState::{Active, Archived, Draft};

    for (from, to, may) in [
        (Draft, Draft, true),
        (Draft, Active, true),
        (Draft, Archived, true),
        (Active, Draft, false),
        (Active, Active, true),
        (Active, Archived, true),
        (Archived, Draft, false),
        (Archived, Active, true),
        (Archived, Archived, true),
    ] {
        assert_eq!(from.may_become(to), may, "{from} to {to}");
    }
}

#[test]
fn slugs_are_checked_and_made_from_names() {
    for (text, fits) in [
        ("blue-mug", true),
        ("mug2", true),
        ("", false),
        ("Blue", false),
        ("blue--mug", false),
        ("-blue", false),
        ("blue-", false),
        ("prd_0123", false),
        ("bläu", false),
        (&"a".repeat(101), false),
    ] {
        assert_eq!(text.parse::<Slug>().is_ok(), fits, "{text:?}");
    }
    for (name, slug) in [
        ("Blue Mug", "blue-mug"),
        ("  Größe: XL!  ", "groesse-xl"),
        ("Café crème (250 g)", "cafe-creme-250-g"),
        ("Blauer Becher, 0,3 l", "blauer-becher-0-3-l"),
        ("日本", "product"),
        (&"ab ".repeat(60), "ab-".repeat(27).strip_suffix('-').unwrap()),
    ] {
        let made = Slug::of(&name.parse().unwrap(), "product");

        assert_eq!(made.as_str(), slug, "{name:?}");
        assert!(made.as_str().parse::<Slug>().is_ok(), "{made}");
        assert!(made.with("0123ab").as_str().parse::<Slug>().is_ok(), "{made}");
    }
}

#[test]
fn a_price_is_never_below_nothing() {
    for (amount, fits) in
        [(0, true), (1200, true), (-1, false), (DEAREST, true), (DEAREST + 1, false), (i64::MIN, false)]
    {
        assert_eq!(check_price(Money::new(amount, Currency::EUR)).is_ok(), fits, "{amount}");
    }
}

fn new_product(skus: &[&str]) -> NewProduct {
    let variant = |sku: &&str| NewVariant {
        sku: sku.parse().unwrap(),
        name: None,
        price: Money::new(1, Currency::EUR),
    };
    NewProduct {
        name: "Mug".parse().unwrap(),
        slug: None,
        description: Description::default(),
        state: ProductState::Active,
        categories: Vec::new(),
        variants: skus.iter().map(variant).collect(),
    }
}

#[test]
fn a_new_product_keeps_the_limits() {
    let many: Vec<String> = (0..101).map(|n| format!("mug-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let crowded = NewProduct { categories: vec![CategoryId::new(&World::real()); 21], ..new_product(&[]) };

    for (product, code) in [
        (new_product(&[]), None),
        (new_product(&["mug-blue", "mug-red"]), None),
        (new_product(&["mug-blue", "mug-red", "mug-blue"]), Some("sku_taken")),
        (new_product(&many[..100]), None),
        (new_product(&many), Some("too_many_variants")),
        (crowded, Some("too_many_categories")),
    ] {
        let found = product.check().err().map(|error| kernel::Error::from(error).code.to_string());
        assert_eq!(found.as_deref(), code, "{product:?}");
    }
}

#[test]
fn customers_see_only_what_is_for_sale() {
    let world = World::real();
    let id = ProductId::new(&world);
    let full = |state, for_sale| Full {
        product: Product {
            id,
            slug: "mug".parse().unwrap(),
            name: "Mug".parse().unwrap(),
            description: Description::default(),
            state,
            version: 1,
            created_at: world.now(),
            updated_at: world.now(),
        },
        variants: vec![Variant {
            id: VariantId::new(&world),
            product_id: id,
            sku: "mug".parse().unwrap(),
            name: None,
            price: Money::new(1, Currency::EUR),
            for_sale,
            version: 1,
        }],
        categories: Vec::new(),
    };

    for (state, for_sale, seen) in [
        (ProductState::Active, true, Some(1)),
        (ProductState::Active, false, Some(0)),
        (ProductState::Draft, true, None),
        (ProductState::Archived, true, None),
    ] {
        let shown = full(state, for_sale).for_customers();
        assert_eq!(shown.map(|full| full.variants.len()), seen, "{state} {for_sale}");
    }
}

#[test]
fn a_category_is_never_part_of_itself() {
    let world = World::real();
    let (a, b) = (CategoryId::new(&world), CategoryId::new(&world));
    let category = Category {
        id: a,
        parent_id: None,
        slug: "a".parse().unwrap(),
        name: "A".parse().unwrap(),
        version: 1,
    };

    for (parent, above, code) in [
        (Some(Some(b)), vec![b], None),
        (Some(None), vec![], None),
        (Some(Some(a)), vec![a], Some("category_cycle")),
        (Some(Some(b)), vec![b, a], Some("category_cycle")),
        (None, vec![], Some("nothing_to_change")),
    ] {
        let change = CategoryChange { parent, ..CategoryChange::default() };
        let found = change.apply(category.clone(), &above).err();
        let found = found.map(|error| kernel::Error::from(error).code.to_string());
        assert_eq!(found.as_deref(), code, "{parent:?} below {above:?}");
    }
}

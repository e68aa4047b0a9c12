use kernel::{SessionId, World};

use super::*;

fn account(role: Role) -> Account {
    let world = World::real();
    Account {
        id: UserId::new(&world),
        name: "Ann".parse().unwrap(),
        email: "ann@example.com".parse().unwrap(),
        role,
        version: 1,
        created_at: world.now(),
    }
}

fn caller(id: UserId, role: Role) -> Caller {
    Caller { id, role, session: SessionId::new(&World::real()) }
}

#[test]
fn who_may_change_what() {
    use Role::{Admin, Customer, Staff};
    let name = || AccountChange { name: Some("Bea".parse().unwrap()), ..AccountChange::default() };
    let role = |role| AccountChange { role: Some(role), ..AccountChange::default() };
    let password =
        || AccountChange { password: Some("long enough".parse().unwrap()), ..AccountChange::default() };

    // caller's role, is it his own, the account's role, the change, the code of the refusal
    for (by, own, of, change, refused) in [
        (Customer, true, Customer, name(), None),
        (Customer, true, Customer, password(), None),
        (Customer, true, Customer, role(Customer), None),
        (Customer, true, Customer, role(Admin), Some("role_by_admin")),
        (Customer, false, Customer, name(), Some("no_such_user")),
        (Customer, false, Admin, role(Admin), Some("no_such_user")),
        (Staff, true, Staff, name(), None),
        (Staff, true, Staff, role(Admin), Some("role_by_admin")),
        (Staff, false, Customer, name(), None),
        (Staff, false, Customer, role(Staff), Some("role_by_admin")),
        (Staff, false, Customer, password(), Some("password_of_another")),
        (Staff, false, Staff, name(), Some("not_a_customer")),
        (Staff, false, Admin, name(), Some("not_a_customer")),
        (Admin, true, Admin, name(), None),
        (Admin, true, Admin, role(Customer), Some("own_role")),
        (Admin, false, Customer, role(Staff), None),
        (Admin, false, Admin, role(Customer), None),
        (Admin, false, Admin, name(), None),
        (Admin, false, Staff, password(), Some("password_of_another")),
    ] {
        let account = account(of);
        let id = if own { account.id } else { UserId::new(&World::real()) };

        let answer = change.allowed(&caller(id, by), &account);

        let code = answer.err().map(|error| Error::from(error).code.to_string());
        assert_eq!(code.as_deref(), refused, "{by} own={own} on {of}: {change:?}");
    }
}

#[test]
fn who_may_see_whom() {
    let world = World::real();
    let (ann, bob) = (UserId::new(&world), UserId::new(&world));

    for (role, id, sees) in [
        (Role::Customer, ann, true),
        (Role::Customer, bob, false),
        (Role::Staff, bob, true),
        (Role::Admin, bob, true),
    ] {
        assert_eq!(may_see(&caller(ann, role), id), sees, "{role} {id}");
    }
}

#[test]
fn names_and_passwords_are_checked_at_the_border() {
    for (text, fits) in [
        ("Ann", true),
        (" Ann Müller ", true),
        ("", false),
        ("   ", false),
        ("Ann\nBob", false),
        (&"x".repeat(100), true),
        (&"x".repeat(101), false),
    ] {
        assert_eq!(text.parse::<Name>().is_ok(), fits, "{text:?}");
    }
    for (text, fits) in [
        ("12345678", true),
        ("1234567", false),
        ("пароль пароль", true),
        (&"x".repeat(200), true),
        (&"x".repeat(201), false),
    ] {
        assert_eq!(text.parse::<Password>().is_ok(), fits, "{text:?}");
    }
    assert_eq!(format!("{:?}", "secret secret".parse::<Password>().unwrap()), "Password(…)");
}

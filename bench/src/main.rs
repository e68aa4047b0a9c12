//! Load, and what it is compared with
fn main() {}

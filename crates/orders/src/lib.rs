//! What was bought: orders and the saga that fulfils them

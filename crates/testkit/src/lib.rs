//! Real servers, a shop to talk to, fakes of foreign systems, for tests

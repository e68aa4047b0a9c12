//! Who somebody is: accounts, sign-in, tokens

//! The policy server: a request in, an action chunk out.

//! The arm's side: sense, ask, limit, move.

//! A smooth path through a policy's actions.

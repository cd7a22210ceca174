//! One file per demonstration format.

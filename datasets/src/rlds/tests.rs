//! What damaged records come to.

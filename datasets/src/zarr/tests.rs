//! What damaged replay buffers come to.

//! Frozen vision networks that hand out features at chosen layers.

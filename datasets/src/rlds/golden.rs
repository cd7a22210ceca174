//! What tf.train.Example of others comes to.

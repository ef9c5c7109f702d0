//! the burst loop, and the publisher that feeds it.

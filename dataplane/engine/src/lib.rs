//! classify, look up, choose, rewrite: a verdict for each frame.

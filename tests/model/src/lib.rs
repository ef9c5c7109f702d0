//! the reference model and the oracle; shares no code with the product's parser.

//! A back end in memory: what tests, the simulator and `replay` run the engine on.

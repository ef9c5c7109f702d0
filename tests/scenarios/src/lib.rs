//! real programs through the switch, in network namespaces.

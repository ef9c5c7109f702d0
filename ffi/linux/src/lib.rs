//! Linux behind safe types: links, packet sockets.

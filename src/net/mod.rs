//! Sockets: the only asynchronous code.

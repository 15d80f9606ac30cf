//! Errors say whose fault it is.

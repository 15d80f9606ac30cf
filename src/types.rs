//! Newtypes for what can be mixed up.

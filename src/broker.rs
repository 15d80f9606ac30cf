//! The state behind the handlers; knows no wire format.

//! One file per API key: contract, message tables, handler, tests.

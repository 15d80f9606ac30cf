//! Every bound, once: what it bounds, what it costs, what a client sees beyond it.

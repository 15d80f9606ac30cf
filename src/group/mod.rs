//! Consumer groups: committed offsets.

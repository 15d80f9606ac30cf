//! The ring on flash.

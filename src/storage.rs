//! The one seam to the disk.

//! Cases that once failed, at their shortest.

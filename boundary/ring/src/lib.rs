//! How do bytes cross between two parties that do not trust each other?

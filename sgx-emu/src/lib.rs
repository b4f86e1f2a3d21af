//! What would the SGX instructions answer?

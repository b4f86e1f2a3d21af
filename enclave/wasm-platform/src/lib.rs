//! Where do code, memories and stacks of guests live?

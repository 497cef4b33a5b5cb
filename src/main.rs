//! The binary: parses, calls, exits.

fn main() {}

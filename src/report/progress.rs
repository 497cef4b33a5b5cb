//! What happens, as lines for stderr.

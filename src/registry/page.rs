//! One page of an ordered set of names.

/// Which names are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Window {
    /// Only names greater than this one; it need not exist.
    pub after: Option<String>,
    /// Most names in the answer.
    pub limit: usize,
}

/// Some of the names, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Whether more names follow the last one.
    pub more: bool,
}

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

impl<T> Page<T> {
    /// A page out of everything that was found while looking for one item more than its limit.
    ///
    /// A page without items has no last one that others could follow.
    pub(in crate::registry) fn cut(mut found: Vec<T>, limit: usize) -> Self {
        let more = limit > 0 && found.len() > limit;
        found.truncate(limit);
        Self { items: found, more }
    }
}

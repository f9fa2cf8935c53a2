//! Sets of methods: what a route answers, and what is left of that when writes or deletes are switched off.

use http::Method;

/// A set of the methods that routes answer. `OPTIONS` is always answered and not counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Methods(u8);

impl Methods {
    /// GET and HEAD.
    pub const READ: Self = Self(1);
    pub const POST: Self = Self(1 << 1);
    pub const PATCH: Self = Self(1 << 2);
    pub const PUT: Self = Self(1 << 3);
    /// DELETE of what is stored.
    pub const DELETE: Self = Self(1 << 4);
    /// DELETE of an upload: part of pushing, whether or not deletes are allowed.
    pub const CANCEL: Self = Self(1 << 5);

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What both sets hold.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub fn contains(self, method: &Method) -> bool {
        NAMED.iter().any(|(set, name)| self.0 & set.0 != 0 && *name == method.as_str())
    }

    /// The value of an `Allow` header.
    #[must_use]
    pub fn allow(self) -> String {
        let mut names: Vec<&str> = NAMED.iter().filter(|(set, _)| self.0 & set.0 != 0).map(|(_, name)| *name).collect();
        names.dedup();
        names.push("OPTIONS");
        names.join(", ")
    }
}

const NAMED: [(Methods, &str); 7] = [
    (Methods::DELETE, "DELETE"),
    (Methods::CANCEL, "DELETE"),
    (Methods::READ, "GET"),
    (Methods::READ, "HEAD"),
    (Methods::PATCH, "PATCH"),
    (Methods::POST, "POST"),
    (Methods::PUT, "PUT"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let manifest = Methods::READ.and(Methods::PUT).and(Methods::DELETE);
        assert_eq!(manifest.allow(), "DELETE, GET, HEAD, PUT, OPTIONS");
        assert_eq!(manifest.without(Methods::DELETE).allow(), "GET, HEAD, PUT, OPTIONS");
        assert_eq!(manifest.within(Methods::READ).allow(), "GET, HEAD, OPTIONS");
        assert_eq!(Methods::POST.within(Methods::READ).allow(), "OPTIONS");
        assert!(manifest.contains(&Method::HEAD));
        assert!(!manifest.contains(&Method::POST));
        let upload = Methods::READ.and(Methods::CANCEL);
        assert!(upload.without(Methods::DELETE).contains(&Method::DELETE));
    }
}

//! Where everything lies: the only speller of object keys besides the certificate vault.

/// Builds the keys of one registry.
#[derive(Debug)]
pub struct Layout;

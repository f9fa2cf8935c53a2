//! `import nginx.conf`: one server of an NGINX configuration that stands before a registry.
//!
//! `parser` reads the file, and `select` finds the server that passes requests on and the one that redirects to it.
//! `translate` says what each directive comes to; those that are read together are in `address` and `identity`, those
//! that come to nothing in `known`. The result fronts the same registry (`edge.upstream`): the first step of moving.

mod address;
mod headers;
mod identity;
mod known;
mod listen;
mod parser;
mod select;
#[cfg(test)]
mod tests;
mod translate;
mod upstream;

use std::collections::BTreeSet;

use crate::import::{Error, Imported, place::SyntaxError};

pub(in crate::import) fn import(text: &str, name: &str, server: Option<&str>) -> Result<Imported, Error> {
    let directives = parser::parse(text)?;
    let site = select::select(&directives, server)?;
    let (document, notes) = translate::translate(&site, name);
    let head = [
        format!("Made by `pierhead import nginx.conf` of {name}: the registry behind it goes on as it is."),
        "To serve its storage from here, put its configuration in the place of edge.upstream.".to_owned(),
    ];
    Ok(Imported::of(document.yaml(&head), notes))
}

/// The names of the directives in a piece of a configuration.
pub(in crate::import) fn names(text: &str) -> Result<Vec<String>, SyntaxError> {
    let names: BTreeSet<_> = parser::parse(text)?.into_iter().map(|directive| directive.name).collect();
    Ok(names.into_iter().collect())
}

//! Header maps: a name to one value or a list of them.

use anyhow::Result;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{
    node::Value,
    section::{Field, Section},
};

/// What says where a message or a connection ends: nobody but the server itself may (RFC 9112, RFC 9113 section 8.2.2).
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether `Debug` may show the values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum Sensitivity {
    Public,
    Sensitive,
}

/// # Errors
/// A name or a value that cannot stand in a header, or a header that frames messages; values are not quoted.
pub(in crate::config) fn read(field: Option<&Field<'_>>, sensitivity: Sensitivity) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let section: Option<Section<'_>> = field.map(Field::section).transpose()?;
    for (name, field) in section.iter().flat_map(Section::fields) {
        let header = HeaderName::try_from(name).map_err(|_| field.fail("is not a name that a header can have"))?;
        if FRAMING.contains(&header.as_str()) {
            return Err(field.fail("cannot be set: it tells where messages end, which is not the operator's to say"));
        }
        let values = match &field.node().value {
            Value::List(_) => field.list()?,
            _ => vec![field],
        };
        for field in values {
            let text = field.text()?;
            let mut value = HeaderValue::try_from(text).map_err(|_| field.fail("holds what no header can hold"))?;
            value.set_sensitive(sensitivity == Sensitivity::Sensitive);
            headers.append(&header, value);
        }
    }
    Ok(headers)
}

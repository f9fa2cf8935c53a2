//! `edge.hsts`: `Strict-Transport-Security` (RFC 6797).

use anyhow::Result;
use http::HeaderValue;

use crate::config::{
    schema::{Key, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] =
    &[value("max_age").or("0"), value("include_subdomains").or("false"), value("preload").or("false")];

/// What browsers' lists ask for, in seconds: a year.
const PRELOAD_AGE_MIN: u64 = 31_536_000;

/// The header's value, or `None` where it is off. The age is in seconds, as it stands in the header and in GitLab's and
/// nginx's settings.
pub(in crate::config) fn read(hsts: &Section<'_>) -> Result<Option<HeaderValue>> {
    let age = hsts.need("max_age")?.count()?;
    let (subdomains, preload) = (hsts.boolean("include_subdomains")?, hsts.boolean("preload")?);
    if preload && (age < PRELOAD_AGE_MIN || !subdomains) {
        let field = hsts.need("preload")?;
        return Err(field.fail("needs include_subdomains, and a max_age of at least 31536000 (seconds: a year)"));
    }
    if age == 0 {
        return Ok(None);
    }
    let word = |word: &'static str, present| if present { word } else { "" };
    let value = format!("max-age={age}{}{}", word("; includeSubDomains", subdomains), word("; preload", preload));
    Ok(Some(HeaderValue::try_from(value).expect("digits and words can stand in a header")))
}

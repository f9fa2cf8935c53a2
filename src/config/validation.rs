//! `validation`: what a manifest must satisfy before it is stored.

use anyhow::Result;
use regex::Regex;

use crate::config::{
    Warning,
    schema::{Key, Shape, key, section, value, values},
    section::{Field, Section},
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("disabled").or("false"),
    value("enabled"),
    section(
        "manifests",
        &[
            section("urls", &[values("allow"), values("deny")]).always(),
            section(
                "indexes",
                &[
                    value("platforms").or("all"),
                    key("platformlist", Shape::List(&Shape::Section(&[value("architecture"), value("os")]))),
                ],
            )
            .always(),
            value("referencelimit").inert(),
            value("payloadsizelimit").inert(),
        ],
    )
    .always(),
];

#[derive(Clone, Debug)]
pub struct Validation {
    /// Whether what a manifest names must exist.
    pub enabled: bool,
    pub urls: Urls,
    pub platforms: Platforms,
}

/// Patterns for the addresses of foreign layers; they match anywhere in an address. Where both are empty no address is
/// allowed.
#[derive(Clone, Debug)]
pub struct Urls {
    pub allow: Vec<Regex>,
    pub deny: Vec<Regex>,
}

/// Which children of an index must exist.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Platforms {
    All,
    None,
    List(Vec<Platform>),
}

/// In small letters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

#[derive(Clone, Copy)]
enum Which {
    All,
    None,
    Listed,
}

impl Validation {
    pub(in crate::config) fn read(validation: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Self> {
        let manifests = validation.need_section("manifests")?;
        let urls = manifests.need_section("urls")?;
        if let Some(enabled) = validation.find("enabled") {
            enabled.boolean()?;
            warnings.push(Warning::of(&enabled, "is deprecated and does nothing; write validation.disabled"));
        }
        Ok(Self {
            enabled: !validation.boolean("disabled")?,
            urls: Urls { allow: patterns(&urls, "allow")?, deny: patterns(&urls, "deny")? },
            platforms: platforms(&manifests.need_section("indexes")?)?,
        })
    }
}

fn patterns(urls: &Section<'_>, name: &str) -> Result<Vec<Regex>> {
    let compile = |field: &Field<'_>| {
        Regex::new(field.text()?).map_err(|error| field.fail(format_args!("is not a regular expression: {error}")))
    };
    urls.list(name)?.iter().map(compile).collect()
}

fn platforms(indexes: &Section<'_>) -> Result<Platforms> {
    let words = [("all", Which::All), ("none", Which::None), ("list", Which::Listed)];
    match indexes.need("platforms")?.word(&words)? {
        Which::All => Ok(Platforms::All),
        Which::None => Ok(Platforms::None),
        Which::Listed => {
            let platform = |section: Section<'_>| {
                Ok(Platform {
                    architecture: section.need_text("architecture")?.to_lowercase(),
                    os: section.need_text("os")?.to_lowercase(),
                })
            };
            let listed = indexes.list("platformlist")?;
            listed.iter().map(|field| platform(field.section()?)).collect::<Result<_>>().map(Platforms::List)
        }
    }
}

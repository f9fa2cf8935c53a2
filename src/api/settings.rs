//! How the API behaves.

use std::time::Duration;

use http::HeaderMap;

use crate::api::{location::Base, method::Methods};

/// Everything that the configuration says about the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http.prefix`, and where clients find us (`http.host`, `edge.external_url`).
    pub base: Base,
    /// `http.headers`: added to every answer of the API, not to those outside it.
    pub headers: HeaderMap,
    pub mode: Mode,
    /// `catalog.maxentries`: most repositories on a page.
    pub catalog_max: usize,
    /// `tags.maxtags`: most tags on a page.
    pub tags_max: usize,
    /// Chunks below this many bytes cost the storage much; clients are asked for larger ones.
    pub chunk_size_min: Option<u64>,
    /// How long past its end the token that began an upload may finish it; zero turns that off.
    pub token_grace: Duration,
}

/// What may be changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// `storage.maintenance.readonly.enabled`
    ReadOnly,
    /// `storage.delete.enabled: false`, the default.
    #[default]
    WithoutDelete,
    Full,
}

/// Tags on a page where `tags.maxtags` is unset: as many as GitLab asks for at once.
pub const TAGS_MAX_DEFAULT: usize = 10_000;

/// Repositories on a page where `catalog.maxentries` is unset.
pub const CATALOG_MAX_DEFAULT: usize = 1000;

impl Mode {
    /// What is left of the methods of a route.
    #[must_use]
    pub const fn restrict(self, methods: Methods) -> Methods {
        match self {
            Self::ReadOnly => methods.within(Methods::READ),
            Self::WithoutDelete => methods.without(Methods::DELETE),
            Self::Full => methods,
        }
    }
}

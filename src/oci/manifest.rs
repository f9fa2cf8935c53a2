//! Manifests: what an image, an index or an artifact is made of (OCI image-spec 1.1; Docker image manifest v2.2).
//!
//! A [`Manifest`] is its bytes, their digest and what they say, made together by [`Manifest::parse`], so none of the
//! three can disagree with the others. Bytes that could be taken for two different kinds are refused, and so are media
//! types that are none of [`Kind`]: nobody could tell what such a manifest refers to, neither to check nor to keep it.
//! (Artifacts need no types of their own: they are image manifests with an `artifactType`.)

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::oci::{
    descriptor::{Annotations, Descriptor, ReferrerDescriptor},
    digest::{Algorithm, Digest},
    hasher::Hasher,
    json,
    media_type::{self, Kind},
};

/// Largest manifest, in bytes: what the distribution-spec asks registries to take, and what our predecessor took.
pub const SIZE_MAX: usize = 4 * 1024 * 1024;

/// A manifest that is well-formed in itself; whether its references exist is another question.
#[derive(Clone, Debug)]
pub struct Manifest {
    kind: Kind,
    digest: Digest,
    raw: Bytes,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    children: Vec<Descriptor>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Annotations,
}

/// The members that decide which kind of manifest a document is, by their presence.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    layers: bool,
    #[serde(default, deserialize_with = "present")]
    manifests: bool,
}

/// The members that a registry acts upon once the kind is known.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<Annotations>,
}

impl Manifest {
    /// Reads a manifest and computes its digest with `algorithm`.
    ///
    /// `content_type` is what the sender called it, parameters and all. Without it, the manifest's own `mediaType`
    /// decides, and without both, its shape.
    ///
    /// # Errors
    /// [`InvalidManifest`] when the bytes are not exactly one manifest of exactly one known kind.
    pub fn parse(content_type: Option<&str>, algorithm: Algorithm, raw: Bytes) -> Result<Self, InvalidManifest> {
        let declared = content_type.map(media_type::essence).filter(|essence| !essence.is_empty());
        if declared.is_some_and(media_type::is_schema1) {
            return Err(InvalidManifest::Schema1);
        }
        json::check(&raw).map_err(|error| InvalidManifest::json(&error))?;
        let shape: Shape = serde_json::from_slice(&raw).map_err(|error| InvalidManifest::json(&error))?;
        shape.check_version()?;
        let kind = shape.kind(declared)?;
        let document: Document = serde_json::from_slice(&raw).map_err(|error| InvalidManifest::json(&error))?;
        Ok(document.into_manifest(kind, Hasher::digest(algorithm, &raw), raw))
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    #[must_use]
    pub const fn media_type(&self) -> &'static str {
        self.kind.media_type()
    }

    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bytes, exactly as they came.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The blobs that it is made of: the config first, then the layers in order.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }

    /// What an index points at: manifests, by rights.
    #[must_use]
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }

    /// The manifest that this one is about; only OCI manifests have one.
    #[must_use]
    pub const fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// How the referrers API describes this manifest.
    #[must_use]
    pub fn referrer_descriptor(&self) -> ReferrerDescriptor {
        // Of an image manifest the config's type stands in; an index has none to offer.
        let config_type = || self.config.as_ref().map(|config| config.media_type.clone());
        ReferrerDescriptor {
            media_type: self.media_type().to_owned(),
            digest: self.digest.clone(),
            size: self.raw.len() as u64,
            artifact_type: self.artifact_type.clone().or_else(config_type),
            annotations: self.annotations.clone(),
        }
    }
}

/// The kind of a manifest that was stored by whomever: what [`Manifest::parse`] refuses may stand in an old store
/// and is still served, unless its kind is in doubt.
///
/// # Errors
/// [`InvalidManifest`] when the bytes are of no known kind or of more than one.
pub fn stored_kind(raw: &[u8]) -> Result<Kind, InvalidManifest> {
    let shape: Shape = serde_json::from_slice(raw).map_err(|error| InvalidManifest::json(&error))?;
    match shape.schema_version {
        Some(1) => Err(InvalidManifest::Schema1),
        _ => shape.kind(None),
    }
}

impl Shape {
    /// Schema 1 is called by its name, whatever else is wrong with it.
    fn check_version(&self) -> Result<(), InvalidManifest> {
        // The artifact manifest of the release candidates was the only one without a schemaVersion.
        let artifact = self.media_type.as_deref().and_then(Kind::of) == Some(Kind::OciArtifact);
        match self.schema_version {
            Some(2) => Ok(()),
            None if artifact => Ok(()),
            None => Err(InvalidManifest::Missing("schemaVersion")),
            Some(1) => Err(InvalidManifest::Schema1),
            Some(other) => Err(InvalidManifest::Version(other)),
        }
    }

    fn kind(&self, declared: Option<&str>) -> Result<Kind, InvalidManifest> {
        let own = self.media_type.as_deref().filter(|media_type| !media_type.is_empty());
        if let (Some(declared), Some(own)) = (declared, own)
            && !declared.eq_ignore_ascii_case(own)
        {
            return Err(InvalidManifest::Contradiction { declared: excerpt(declared), own: excerpt(own) });
        }
        let Some(media_type) = own.or(declared) else { return self.kind_by_shape() };
        if media_type::is_schema1(media_type) {
            return Err(InvalidManifest::Schema1);
        }
        let kind = Kind::of(media_type).ok_or_else(|| InvalidManifest::UnknownKind(excerpt(media_type)))?;
        // Later readers have only the bytes, and without this member they would take the manifest for an OCI one.
        if own.is_none() && !matches!(kind, Kind::OciManifest | Kind::OciIndex) {
            return Err(InvalidManifest::Missing("mediaType"));
        }
        self.check_members(kind)?;
        Ok(kind)
    }

    fn kind_by_shape(&self) -> Result<Kind, InvalidManifest> {
        let kind = match (self.has("config"), self.manifests) {
            (true, false) => Kind::OciManifest,
            (false, true) => Kind::OciIndex,
            (true, true) => return Err(InvalidManifest::Ambiguous("config", "manifests")),
            (false, false) => return Err(InvalidManifest::Shapeless),
        };
        self.check_members(kind)?;
        Ok(kind)
    }

    /// A manifest that reads as an index to one client and as an image to another lets one digest stand for two
    /// things (CVE-2021-41190).
    fn check_members(&self, kind: Kind) -> Result<(), InvalidManifest> {
        let (own, foreign): (_, &[_]) = match kind {
            Kind::DockerManifest | Kind::OciManifest => (Some("config"), &["manifests"]),
            Kind::DockerList | Kind::OciIndex => (Some("manifests"), &["config", "layers"]),
            Kind::OciArtifact => (None, &["config", "layers", "manifests"]),
        };
        if let Some(missing) = own.filter(|name| !self.has(name)) {
            return Err(InvalidManifest::Missing(missing));
        }
        match foreign.iter().find(|name| self.has(name)) {
            Some(other) => Err(InvalidManifest::Ambiguous(own.unwrap_or("blobs"), other)),
            None => Ok(()),
        }
    }

    fn has(&self, member: &str) -> bool {
        match member {
            "config" => self.config.is_some(),
            "layers" => self.layers,
            _ => self.manifests,
        }
    }
}

impl Document {
    fn into_manifest(self, kind: Kind, digest: Digest, raw: Bytes) -> Manifest {
        let layers = if kind == Kind::OciArtifact { self.blobs } else { self.layers };
        Manifest {
            kind,
            digest,
            raw,
            config: self.config,
            layers: layers.unwrap_or_default(),
            children: self.manifests.unwrap_or_default(),
            subject: self.subject.filter(|_| kind.is_oci()),
            artifact_type: self.artifact_type.filter(|artifact_type| !artifact_type.is_empty()),
            annotations: self.annotations.unwrap_or_default(),
        }
    }
}

/// A list that is there, even as `null` (which is how Go encodes an empty one), is told from one that is not.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    <IgnoredAny as serde::Deserialize>::deserialize(deserializer).map(|_| true)
}

/// Why bytes are not a manifest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidManifest {
    #[error("Schema 1 manifest not supported")]
    Schema1,
    #[error("the schemaVersion is 2, not {0}")]
    Version(u64),
    #[error("not a well-formed manifest: {0}")]
    Json(String),
    #[error("the media type '{0}' is not one of a manifest that this registry knows")]
    UnknownKind(String),
    #[error("the Content-Type is '{declared}' but the manifest calls itself '{own}'")]
    Contradiction { declared: String, own: String },
    #[error("the manifest has '{0}' and '{1}' at once")]
    Ambiguous(&'static str, &'static str),
    #[error("the manifest has no '{0}'")]
    Missing(&'static str),
    #[error("there is neither a Content-Type nor a mediaType, and the shape is that of no manifest")]
    Shapeless,
}

impl InvalidManifest {
    fn json(error: &serde_json::Error) -> Self {
        Self::Json(excerpt(&error.to_string()))
    }
}

/// Enough of a stranger's text to recognise it, with nothing in it that a log or a terminal would act upon.
fn excerpt(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

    fn parse(content_type: Option<&str>, text: &str) -> Result<Manifest, InvalidManifest> {
        Manifest::parse(content_type, Algorithm::Sha256, Bytes::copy_from_slice(text.as_bytes()))
    }

    fn descriptor(fill: char) -> String {
        format!(r#"{{"mediaType":"a/{fill}","digest":"sha256:{}","size":3}}"#, fill.to_string().repeat(64))
    }

    fn image(extra: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]{extra}}}"#, descriptor('a'), descriptor('b'))
    }

    fn index(extra: &str) -> String {
        format!(r#"{{"schemaVersion":2,"manifests":[{}]{extra}}}"#, descriptor('c'))
    }

    fn check(content_type: Option<&str>, text: &str, expected: Result<Kind, &str>) {
        match (parse(content_type, text), expected) {
            (Ok(manifest), Ok(kind)) => {
                assert_eq!(manifest.kind(), kind, "{text}");
                assert_eq!(manifest.raw(), text.as_bytes());
                assert_eq!(*manifest.digest(), Hasher::digest(Algorithm::Sha256, text.as_bytes()));
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            (got, expected) => panic!("{text}: {got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn the_kind_comes_from_both_declarations_or_the_shape() {
        let typed = |media_type: &str| format!(r#","mediaType":"{media_type}""#);
        check(Some(OCI), &image(""), Ok(Kind::OciManifest));
        check(Some(&format!("{OCI}; charset=utf-8")), &image(&typed(OCI)), Ok(Kind::OciManifest));
        check(None, &image(""), Ok(Kind::OciManifest));
        check(Some(""), &index(""), Ok(Kind::OciIndex));
        check(None, &image(&typed(DOCKER)), Ok(Kind::DockerManifest));
        check(Some(LIST), &index(&typed(LIST)), Ok(Kind::DockerList));
        check(Some(OCI), &image(&typed(DOCKER)), Err("calls itself"));
        check(Some(DOCKER), &image(""), Err("no 'mediaType'"));
        check(Some("application/json"), &image(""), Err("application/json"));
        check(Some("text/\r\nx"), &image(""), Err("text/??x"));
        check(None, r#"{"schemaVersion":2}"#, Err("shape"));
    }

    #[test]
    fn artifacts_of_the_release_candidates_have_blobs_and_no_version() {
        let kind = Kind::OciArtifact;
        let text = format!(r#"{{"mediaType":"{}","blobs":[{}]}}"#, kind.media_type(), descriptor('d'));
        check(Some(kind.media_type()), &text, Ok(kind));
        assert_eq!(parse(None, &text).map(|manifest| manifest.blobs().count()), Ok(1));
        let both = format!(r#"{{"mediaType":"{}","blobs":[],"layers":[]}}"#, kind.media_type());
        check(None, &both, Err("at once"));
    }

    #[test]
    fn nothing_is_two_things() {
        let (manifests, layers) = (r#","manifests":[]"#, r#","layers":null"#);
        check(Some(OCI), &image(manifests), Err("'config' and 'manifests' at once"));
        check(Some(INDEX), &index(layers), Err("'manifests' and 'layers' at once"));
        check(None, &image(manifests), Err("at once"));
        check(Some(INDEX), &image(""), Err("no 'manifests'"));
        check(Some(OCI), &index(""), Err("no 'config'"));
    }

    #[test]
    fn schema_1_is_called_by_its_name() {
        let message = "Schema 1 manifest not supported";
        check(Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), "junk", Err(message));
        check(None, r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#, Err(message));
    }

    #[test]
    fn malformed_documents() {
        for text in ["", "[]", "null", "\u{feff}{}", "{\"schemaVersion\":2,\"schemaVersion\":2}"] {
            check(Some(OCI), text, Err(""));
        }
        check(None, &format!("{} x", image("")), Err("not a well-formed manifest"));
        check(None, &image("").replace(":2", ":3"), Err("not 3"));
        check(None, &image("").replace(":2", ":\"2\""), Err("well-formed"));
        check(None, &image("").replace("\"schemaVersion\":2,", ""), Err("no 'schemaVersion'"));
        check(None, &image("").replace("size\":3", "size\":-3"), Err("well-formed"));
        check(None, &image("").replace("sha256:", "md5:"), Err("well-formed"));
        check(None, &image(r#","annotations":{"a":1}"#), Err("well-formed"));
        check(None, &image(r#","annotations":{"a":"\ud800"}"#), Err("well-formed"));
        check(None, &image(r#","x":{"a":1,"a":2}"#), Err("twice"));
    }

    /// Trees of other registries hold what we would not take today.
    #[test]
    fn the_kind_of_what_is_stored() {
        let stored = |text: &str| stored_kind(text.as_bytes());
        assert_eq!(stored(&image(r#","x":{"a":1,"a":2}"#)), Ok(Kind::OciManifest));
        assert_eq!(stored(&image("").replace("size\":3", "size\":-3")), Ok(Kind::OciManifest));
        assert_eq!(stored(&index(r#","layers":[]"#)), Err(InvalidManifest::Ambiguous("manifests", "layers")));
        assert_eq!(stored(r#"{"schemaVersion":1,"fsLayers":[]}"#), Err(InvalidManifest::Schema1));
        assert!(stored("").is_err());
    }

    #[test]
    fn space_does_not_matter_but_is_part_of_the_digest() {
        let (tight, loose) = (image(""), image("").replace(',', " ,\n"));
        check(None, &loose, Ok(Kind::OciManifest));
        assert_ne!(parse(None, &tight).map(|m| m.digest), parse(None, &loose).map(|m| m.digest));
    }

    #[test]
    fn what_the_referrers_api_says() {
        let described = |text: &str| parse(None, text).expect("a manifest").referrer_descriptor();
        assert_eq!(described(&image("")).artifact_type.as_deref(), Some("a/a"));
        assert_eq!(described(&image(r#","artifactType":"""#)).artifact_type.as_deref(), Some("a/a"));
        assert_eq!(described(&image(r#","artifactType":"t/s""#)).artifact_type.as_deref(), Some("t/s"));
        assert_eq!(described(&index("")).artifact_type, None);
        let text = index(r#","artifactType":"t/s","annotations":{"k":"v"}"#);
        let expected = ReferrerDescriptor {
            media_type: INDEX.to_owned(),
            digest: Hasher::digest(Algorithm::Sha256, text.as_bytes()),
            size: text.len() as u64,
            artifact_type: Some("t/s".to_owned()),
            annotations: Annotations::from([("k".to_owned(), "v".to_owned())]),
        };
        assert_eq!(described(&text), expected);
    }

    #[test]
    fn only_oci_manifests_have_a_subject() {
        let subject = format!(r#","subject":{}"#, descriptor('e'));
        assert!(parse(None, &image(&subject)).is_ok_and(|manifest| manifest.subject().is_some()));
        let docker = image(&format!(r#"{subject},"mediaType":"{DOCKER}""#));
        assert!(parse(None, &docker).is_ok_and(|manifest| manifest.subject().is_none()));
    }
}

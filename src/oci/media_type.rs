//! Media types that a registry must know: those of manifests, and those of layers that may lie elsewhere.

/// The kinds of manifest that can be pushed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Docker image manifest, version 2 schema 2.
    DockerManifest,
    /// Docker manifest list.
    DockerList,
    /// OCI image manifest, images and artifacts alike.
    OciManifest,
    /// OCI image index.
    OciIndex,
    /// OCI artifact manifest of the image-spec's 1.1 release candidates: blobs without a config.
    OciArtifact,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::DockerManifest, Self::DockerList, Self::OciManifest, Self::OciIndex, Self::OciArtifact];

    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::OciArtifact => "application/vnd.oci.artifact.manifest.v1+json",
        }
    }

    /// The kind with this media type; letter case does not matter (RFC 2045, section 5.1).
    #[must_use]
    pub fn of(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type().eq_ignore_ascii_case(media_type))
    }

    /// Whether the format comes from the OCI image-spec.
    #[must_use]
    pub const fn is_oci(self) -> bool {
        !matches!(self, Self::DockerManifest | Self::DockerList)
    }
}

/// Whether this is Docker's image manifest of version 2 schema 1, signed or not.
#[must_use]
pub fn is_schema1(media_type: &str) -> bool {
    [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ]
    .iter()
    .any(|schema1| schema1.eq_ignore_ascii_case(media_type))
}

/// Whether layers of this type may be fetched from elsewhere and need not be pushed: Docker's foreign layers and
/// OCI's non-distributable ones.
#[must_use]
pub fn is_foreign_layer(media_type: &str) -> bool {
    let lower = media_type.to_ascii_lowercase();
    lower.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
        || lower.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
}

/// A media type without its parameters (`; charset=utf-8`) and surrounding space.
#[must_use]
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_media_type() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.media_type()), Some(kind));
            assert_eq!(Kind::of(&kind.media_type().to_uppercase()), Some(kind));
        }
        assert_eq!(Kind::of("application/json"), None);
        assert_eq!(Kind::of(""), None);
    }

    #[test]
    fn parameters_do_not_count() {
        assert_eq!(essence(" application/json ; charset=utf-8"), "application/json");
        assert_eq!(essence(""), "");
    }

    #[test]
    fn foreign_layers() {
        assert!(is_foreign_layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
        assert!(is_foreign_layer("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"));
        assert!(!is_foreign_layer("application/vnd.oci.image.layer.v1.tar+gzip"));
    }
}

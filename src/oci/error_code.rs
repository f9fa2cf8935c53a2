//! The error codes that clients branch on (OCI distribution-spec 1.1, "Error Codes"; CNCF Distribution; GitLab).

use http::StatusCode;

/// What went wrong, as the `code` of an error body says it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorCode {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ImmutableTag,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    PaginationNumberInvalid,
    ProtectedManifest,
    ProtectedTag,
    RangeInvalid,
    SizeInvalid,
    TagInvalid,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unknown,
    Unsupported,
}

impl ErrorCode {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status that usually goes with it; the particular case may say otherwise.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// A sentence for people, the same for every case.
    #[must_use]
    pub const fn message(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", S::NOT_FOUND, "blob unknown to registry"),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", S::NOT_FOUND, "blob upload invalid"),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", S::NOT_FOUND, "blob upload unknown to registry"),
            Self::DigestInvalid => ("DIGEST_INVALID", S::BAD_REQUEST, "provided digest did not match uploaded content"),
            // 401 rather than 403: what GitLab's own registry answers.
            Self::ImmutableTag => ("IMMUTABLE_TAG", S::UNAUTHORIZED, "the tag exists and is immutable"),
            Self::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", S::BAD_REQUEST, "blob unknown to registry"),
            Self::ManifestInvalid => ("MANIFEST_INVALID", S::BAD_REQUEST, "manifest invalid"),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", S::NOT_FOUND, "manifest unknown"),
            Self::NameInvalid => ("NAME_INVALID", S::BAD_REQUEST, "invalid repository name"),
            Self::NameUnknown => ("NAME_UNKNOWN", S::NOT_FOUND, "repository name not known to registry"),
            Self::PaginationNumberInvalid => {
                ("PAGINATION_NUMBER_INVALID", S::BAD_REQUEST, "invalid number of results requested")
            }
            Self::ProtectedManifest => ("PROTECTED_MANIFEST", S::UNAUTHORIZED, "the manifest may carry protected tags"),
            Self::ProtectedTag => ("PROTECTED_TAG", S::UNAUTHORIZED, "the tag is protected"),
            Self::RangeInvalid => ("RANGE_INVALID", S::RANGE_NOT_SATISFIABLE, "invalid content range"),
            Self::SizeInvalid => ("SIZE_INVALID", S::BAD_REQUEST, "provided length did not match content length"),
            Self::TagInvalid => ("TAG_INVALID", S::BAD_REQUEST, "manifest tag did not match URI"),
            Self::TooManyRequests => ("TOOMANYREQUESTS", S::TOO_MANY_REQUESTS, "too many requests"),
            Self::Unauthorized => ("UNAUTHORIZED", S::UNAUTHORIZED, "authentication required"),
            Self::Unavailable => ("UNAVAILABLE", S::SERVICE_UNAVAILABLE, "service unavailable"),
            Self::Unknown => ("UNKNOWN", S::INTERNAL_SERVER_ERROR, "unknown error"),
            Self::Unsupported => ("UNSUPPORTED", S::METHOD_NOT_ALLOWED, "The operation is unsupported."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients know these by heart.
    #[test]
    fn statuses_that_differ_from_what_the_name_suggests() {
        for (code, name, status) in [
            (ErrorCode::BlobUploadInvalid, "BLOB_UPLOAD_INVALID", 404),
            (ErrorCode::ManifestBlobUnknown, "MANIFEST_BLOB_UNKNOWN", 400),
            (ErrorCode::ProtectedTag, "PROTECTED_TAG", 401),
            (ErrorCode::RangeInvalid, "RANGE_INVALID", 416),
            (ErrorCode::TooManyRequests, "TOOMANYREQUESTS", 429),
            (ErrorCode::Unsupported, "UNSUPPORTED", 405),
        ] {
            assert_eq!((code.as_str(), code.status().as_u16()), (name, status));
        }
    }
}

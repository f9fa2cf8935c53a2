//! Which operation of S3 a request is, as the store's own documentation names them.

use std::fmt;

use http::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Operation {
    PutObject,
    CopyObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    HeadObject,
    GetObject,
    DeleteObject,
    DeleteObjects,
    ListObjects,
    ListObjectsV2,
    ListMultipartUploads,
    /// Whatever concerns the bucket itself.
    Bucket,
    Unknown,
}

impl Operation {
    /// Whether it stores bytes or makes stored ones visible.
    pub(crate) const fn writes(self) -> bool {
        matches!(
            self,
            Self::PutObject
                | Self::CopyObject
                | Self::CreateMultipartUpload
                | Self::UploadPart
                | Self::UploadPartCopy
                | Self::CompleteMultipartUpload
                | Self::AbortMultipartUpload
                | Self::DeleteObject
                | Self::DeleteObjects
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// A request as S3 reads it: which bucket is the first segment of its path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub operation: Operation,
    pub bucket: String,
    /// Decoded; empty where the bucket itself is meant.
    pub key: String,
    query: Vec<(String, String)>,
}

impl Target {
    pub(crate) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| {
            let value = value.replace('+', " ");
            (decoded(name), decoded(&value))
        });
        let mut target =
            Self { operation: Operation::Unknown, bucket: decoded(bucket), key: decoded(key), query: query.collect() };
        target.operation = target.recognise(method, headers.contains_key("x-amz-copy-source"));
        target
    }

    /// The value of a query parameter, decoded.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn part(&self) -> Option<u32> {
        self.query("partNumber")?.parse().ok()
    }

    fn recognise(&self, method: &Method, copies: bool) -> Operation {
        let has = |name: &str| self.query(name).is_some();
        match (method.as_str(), self.key.is_empty()) {
            ("GET", true) if has("uploads") => Operation::ListMultipartUploads,
            ("GET", true) if self.query("list-type") == Some("2") => Operation::ListObjectsV2,
            ("GET", true) if ["prefix", "delimiter", "marker", "max-keys"].into_iter().any(has) => {
                Operation::ListObjects
            }
            ("POST", true) if has("delete") => Operation::DeleteObjects,
            (_, true) => Operation::Bucket,
            ("PUT", false) if has("partNumber") && copies => Operation::UploadPartCopy,
            ("PUT", false) if has("partNumber") => Operation::UploadPart,
            ("PUT", false) if copies => Operation::CopyObject,
            ("PUT", false) => Operation::PutObject,
            ("POST", false) if has("uploads") => Operation::CreateMultipartUpload,
            ("POST", false) if has("uploadId") => Operation::CompleteMultipartUpload,
            ("DELETE", false) if has("uploadId") => Operation::AbortMultipartUpload,
            ("DELETE", false) => Operation::DeleteObject,
            ("HEAD", false) => Operation::HeadObject,
            ("GET", false) if has("uploadId") => Operation::ListParts,
            ("GET", false) => Operation::GetObject,
            _ => Operation::Unknown,
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[test]
fn a_request_is_recognised_by_its_method_and_query() {
    let copied = HeaderMap::from_iter([("x-amz-copy-source".parse().unwrap(), "b/k".parse().unwrap())]);
    for (method, uri, headers, expected, key) in [
        ("PUT", "/b/a%20b/c", HeaderMap::new(), Operation::PutObject, "a b/c"),
        ("PUT", "/b/k", copied.clone(), Operation::CopyObject, "k"),
        ("PUT", "/b/k?partNumber=2&uploadId=u", HeaderMap::new(), Operation::UploadPart, "k"),
        ("PUT", "/b/k?partNumber=2&uploadId=u", copied, Operation::UploadPartCopy, "k"),
        ("POST", "/b/k?uploads", HeaderMap::new(), Operation::CreateMultipartUpload, "k"),
        ("POST", "/b/k?uploadId=u", HeaderMap::new(), Operation::CompleteMultipartUpload, "k"),
        ("DELETE", "/b/k?uploadId=u", HeaderMap::new(), Operation::AbortMultipartUpload, "k"),
        ("POST", "/b/?delete", HeaderMap::new(), Operation::DeleteObjects, ""),
        ("GET", "/b?list-type=2&prefix=a%2F", HeaderMap::new(), Operation::ListObjectsV2, ""),
        ("GET", "/b?uploads=&prefix=a", HeaderMap::new(), Operation::ListMultipartUploads, ""),
        ("HEAD", "/b", HeaderMap::new(), Operation::Bucket, ""),
        ("GET", "/b/k?X-Amz-Signature=1", HeaderMap::new(), Operation::GetObject, "k"),
    ] {
        let target = Target::of(&method.parse().unwrap(), &uri.parse().unwrap(), &headers);
        assert_eq!((target.operation, target.key.as_str()), (expected, key), "{method} {uri}");
    }
}

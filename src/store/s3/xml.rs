//! Answers that `object_store` does not read for us.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// `ListObjectsV2`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Objects {
    pub(super) is_truncated: bool,
    encoding_type: Option<String>,
    pub(super) contents: Vec<Content>,
    pub(super) common_prefixes: Vec<CommonPrefix>,
    pub(super) next_continuation_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Content {
    pub(super) key: String,
    pub(super) size: u64,
    last_modified: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CommonPrefix {
    pub(super) prefix: String,
}

/// `ListMultipartUploads`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Unfinished {
    pub(super) is_truncated: bool,
    encoding_type: Option<String>,
    pub(super) next_key_marker: Option<String>,
    pub(super) next_upload_id_marker: Option<String>,
    #[serde(rename = "Upload")]
    pub(super) uploads: Vec<Upload>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Upload {
    pub(super) key: String,
    #[serde(rename = "UploadId")]
    pub(super) id: String,
    initiated: String,
}

/// `UploadPartCopy`
#[derive(Debug, Default, Deserialize)]
pub(super) struct CopiedPart {
    #[serde(rename = "ETag", default)]
    pub(super) tag: String,
}

/// `CreateMultipartUpload`
#[derive(Debug, Default, Deserialize)]
pub(super) struct Initiated {
    #[serde(rename = "UploadId", default)]
    pub(super) upload_id: String,
}

impl Objects {
    /// A name as it is: `encoding-type=url` was asked for, because XML cannot carry every byte.
    pub(super) fn name<'a>(&self, text: &'a str) -> Cow<'a, str> {
        decode(self.encoding_type.as_deref(), text)
    }
}

impl Unfinished {
    pub(super) fn name<'a>(&self, text: &'a str) -> Cow<'a, str> {
        decode(self.encoding_type.as_deref(), text)
    }
}

impl Content {
    pub(super) fn modified(&self) -> OffsetDateTime {
        moment(&self.last_modified)
    }
}

impl Upload {
    pub(super) fn initiated(&self) -> OffsetDateTime {
        moment(&self.initiated)
    }
}

/// A moment that cannot be read is now in the eyes of whoever asks for old things: nothing is removed because of it.
fn moment(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap_or(time::macros::datetime!(9999-01-01 0:00 UTC))
}

fn decode<'a>(encoding: Option<&str>, text: &'a str) -> Cow<'a, str> {
    if encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("url")) {
        // Spaces came as plus signs from some stores; a plus of its own is always escaped.
        let text = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
        return match percent_decode_str(&text).decode_utf8() {
            Ok(decoded) => Cow::Owned(decoded.into_owned()),
            Err(_) => Cow::Owned(text.into_owned()),
        };
    }
    Cow::Borrowed(text)
}

/// An answer, by the name of its root element: another answer would be read as an empty one.
pub(super) trait Answer: serde::de::DeserializeOwned {
    const ROOT: &'static str;
}

impl Answer for Objects {
    const ROOT: &'static str = "ListBucketResult";
}

impl Answer for Unfinished {
    const ROOT: &'static str = "ListMultipartUploadsResult";
}

impl Answer for CopiedPart {
    const ROOT: &'static str = "CopyPartResult";
}

impl Answer for Initiated {
    const ROOT: &'static str = "InitiateMultipartUploadResult";
}

/// # Errors
/// What is wrong with the text.
pub(super) fn read<T: Answer>(body: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    match root(text) {
        Some(root) if root == T::ROOT => quick_xml::de::from_str(text).map_err(|error| error.to_string()),
        Some(root) => Err(format!("it is a {root}, not a {}", T::ROOT)),
        None => Err("it is no XML".to_owned()),
    }
}

/// The name of the outermost element.
pub(super) fn root(text: &str) -> Option<&str> {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    while let Some(declaration) = rest.strip_prefix("<?").or_else(|| rest.strip_prefix("<!")) {
        rest = declaration.split_once('>')?.1.trim_start();
    }
    let name = rest.strip_prefix('<')?;
    let end = name.find(|letter: char| letter == '>' || letter == '/' || letter.is_whitespace())?;
    // A prefix of a namespace is no part of the name.
    Some(name[..end].rsplit(':').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings() {
        let xml = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Name>b</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
            <NextContinuationToken>t</NextContinuationToken>\
            <Contents><Key>a%2Bb+c%2F%25</Key><Size>7</Size><LastModified>2026-11-24T08:00:00.000Z</LastModified></Contents>\
            <CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>\
            <Contents><Key>z</Key><Size>0</Size></Contents></ListBucketResult>";
        let objects: Objects = read(xml.as_bytes()).unwrap();
        assert!(objects.is_truncated);
        assert_eq!(objects.name(&objects.contents[0].key), "a+b c/%");
        assert_eq!(objects.contents[0].modified(), time::macros::datetime!(2026-11-24 8:00 UTC));
        assert_eq!((objects.contents.len(), objects.common_prefixes[0].prefix.as_str()), (2, "x/"));
        let empty: Objects = read(b"<ListBucketResult/>").unwrap();
        assert!(empty.contents.is_empty() && !empty.is_truncated);
        for junk in ["no xml <", "", "<", "<ListAllMyBucketsResult/>", "<?xml", "<Error><Code>x</Code></Error>"] {
            assert!(read::<Objects>(junk.as_bytes()).is_err(), "{junk}");
        }
    }

    #[test]
    fn uploads() {
        let xml = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
            <Upload><Key>k</Key><UploadId>i</UploadId><Initiated>2026-11-24T08:00:00Z</Initiated></Upload>\
            <Upload><Key>k</Key><UploadId>j</UploadId><Initiated>?</Initiated></Upload></ListMultipartUploadsResult>";
        let uploads: Unfinished = read(xml.as_bytes()).unwrap();
        assert_eq!(uploads.uploads.iter().map(|upload| upload.id.as_str()).collect::<Vec<_>>(), ["i", "j"]);
        assert!(uploads.uploads[1].initiated() > uploads.uploads[0].initiated());
    }
}

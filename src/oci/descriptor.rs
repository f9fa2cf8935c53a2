//! Descriptors: how one piece of content names another (OCI image-spec 1.1, descriptor.md).

use std::collections::BTreeMap;

use crate::oci::digest::Digest;

/// Text to text, as the image-spec's annotations.
pub type Annotations = BTreeMap<String, String>;

/// What a descriptor says that a registry acts upon; its other members stay in the manifest's bytes.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// In bytes, below 2^63.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where else the content can be had.
    #[serde(default, deserialize_with = "nullable")]
    pub urls: Vec<String>,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default, deserialize_with = "nullable")]
    pub annotations: Annotations,
}

/// The machine that an image is for, as far as a registry asks.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
}

/// What the referrers API tells about one manifest (OCI distribution-spec 1.1, "Listing Referrers").
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferrerDescriptor {
    pub media_type: String,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

/// Sizes are signed 64-bit integers to most readers (image-spec: `int64`), so larger ones would turn negative there.
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = <u64 as serde::Deserialize>::deserialize(deserializer)?;
    if i64::try_from(size).is_err() {
        return Err(serde::de::Error::custom(format_args!("the size {size} is not below 2^63")));
    }
    Ok(size)
}

/// Encoders in Go write `null` for an empty list or map.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + Default,
{
    <Option<T> as serde::Deserialize>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(members: &str, legal: bool) {
        let digest = format!("sha256:{}", "0".repeat(64));
        let text = format!(r#"{{"mediaType":"a/b","digest":"{digest}",{members}}}"#);
        let parsed = serde_json::from_str::<Descriptor>(&text);
        assert_eq!(parsed.is_ok(), legal, "{text}: {parsed:?}");
    }

    #[test]
    fn sizes() {
        check(r#""size":0"#, true);
        check(r#""size":9223372036854775807"#, true);
        check(r#""size":9223372036854775808"#, false);
        check(r#""size":18446744073709551616"#, false);
        check(r#""size":-1"#, false);
        check(r#""size":1.0"#, false);
        check(r#""size":"1""#, false);
        check(r#""urls":[]"#, false);
    }

    #[test]
    fn optional_members_may_be_null_but_not_of_another_type() {
        check(r#""size":1,"urls":null,"annotations":null,"platform":null,"data":"e30=""#, true);
        check(r#""size":1,"urls":"x""#, false);
        check(r#""size":1,"annotations":{"a":1}"#, false);
    }
}

//! What is said about each object when it is written: its encryption, class, access list and checksum.

use anyhow::Result;

use crate::config::{Warning, section::Section, storage::s3::header};

/// Classes whose objects can be read at once. `NONE` stands for no header at all.
const CLASSES: &[(&str, Option<&str>)] = &[
    ("NONE", None),
    ("STANDARD", Some("STANDARD")),
    ("REDUCED_REDUNDANCY", Some("REDUCED_REDUNDANCY")),
    ("STANDARD_IA", Some("STANDARD_IA")),
    ("ONEZONE_IA", Some("ONEZONE_IA")),
    ("INTELLIGENT_TIERING", Some("INTELLIGENT_TIERING")),
    ("OUTPOSTS", Some("OUTPOSTS")),
    ("GLACIER_IR", Some("GLACIER_IR")),
    ("EXPRESS_ONEZONE", Some("EXPRESS_ONEZONE")),
];

/// Canned access lists.
const ACLS: &[(&str, &str)] = &[
    ("private", "private"),
    ("public-read", "public-read"),
    ("public-read-write", "public-read-write"),
    ("authenticated-read", "authenticated-read"),
    ("aws-exec-read", "aws-exec-read"),
    ("bucket-owner-read", "bucket-owner-read"),
    ("bucket-owner-full-control", "bucket-owner-full-control"),
];

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Objects {
    pub encryption: Encryption,
    /// Value of `x-amz-storage-class`; without it the store decides, which is STANDARD at Amazon.
    pub storage_class: Option<&'static str>,
    /// Value of `x-amz-acl`; without it the store decides, which is private at Amazon. Buckets that have access lists
    /// turned off refuse almost every value.
    pub acl: Option<&'static str>,
    pub checksum: Checksum,
}

/// At rest, by the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// As the bucket says.
    Bucket,
    /// SSE-S3, `AES256`.
    S3,
    /// SSE-KMS, `aws:kms`, with this key.
    Kms { key: String },
}

/// What is sent along with content so that the store can see damage on the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Checksum {
    Off,
    Crc64Nvme,
    Sha256,
}

impl Objects {
    pub(in crate::config) fn read(parameters: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Self> {
        Ok(Self {
            encryption: encryption(parameters, warnings)?,
            storage_class: storage_class(parameters)?,
            acl: acl(parameters)?,
            checksum: checksum(parameters, warnings)?,
        })
    }
}

fn encryption(parameters: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Encryption> {
    let key = header(parameters, "keyid")?;
    match (parameters.need("encrypt")?.switch()?, key) {
        (true, None) => Ok(Encryption::S3),
        (true, Some(key)) => Ok(Encryption::Kms { key }),
        (false, None) => Ok(Encryption::Bucket),
        (false, Some(_)) => {
            let field = parameters.need("keyid")?;
            warnings.push(Warning::of(&field, "has no effect without encrypt: true"));
            Ok(Encryption::Bucket)
        }
    }
}

fn storage_class(parameters: &Section<'_>) -> Result<Option<&'static str>> {
    match parameters.text("storageclass")? {
        None => Ok(None),
        Some(_) => parameters.need("storageclass")?.word(CLASSES),
    }
}

fn acl(parameters: &Section<'_>) -> Result<Option<&'static str>> {
    let owned = parameters.need("objectownership")?.switch()?;
    match parameters.text("objectacl")? {
        None => Ok(None),
        Some(_) if owned => {
            let problem = "contradicts objectownership: true, which says that the bucket has no access lists";
            Err(parameters.need("objectacl")?.fail(problem))
        }
        Some(_) => parameters.need("objectacl")?.word(ACLS).map(Some),
    }
}

/// Off unless one is asked for: many stores that speak S3 refuse them. Whoever writes GitLab's `checksum_disabled: false`
/// asks for what GitLab's driver sends.
fn checksum(parameters: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Checksum> {
    let disabled = parameters.find("checksum_disabled").map(|field| field.switch()).transpose()?;
    let named = parameters.text("checksum_algorithm")?.is_some();
    if !named || disabled == Some(true) {
        return Ok(if disabled == Some(false) { Checksum::Crc64Nvme } else { Checksum::Off });
    }
    let field = parameters.need("checksum_algorithm")?;
    let offered = [("CRC64NVME", Some(Checksum::Crc64Nvme)), ("SHA256", Some(Checksum::Sha256))];
    let others = [("CRC32", None), ("CRC32C", None), ("SHA1", None)];
    let chosen = field.word(&[&offered[..], &others].concat())?;
    if chosen.is_none() {
        warnings.push(Warning::of(&field, "is not offered; CRC64NVME is sent in its place"));
    }
    Ok(chosen.unwrap_or(Checksum::Crc64Nvme))
}

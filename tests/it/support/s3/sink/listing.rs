//! Pages of names, as S3 gives them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    ops::Bound,
};

use http::Response;
use percent_encoding::utf8_percent_encode;
use time::format_description::well_known::Rfc3339;

use crate::support::s3::{
    client::PLAIN_PATH,
    operation::Target,
    serve::Body,
    sink::{Object, Upload, UploadListing, xml},
};

const PAGE_MAX: usize = 1000;

/// One page of `ListObjectsV2`: with prefix, delimiter, start-after and continuation.
pub(super) fn objects(target: &Target, objects: &BTreeMap<String, Object>) -> Response<Body> {
    let prefix = target.query("prefix").unwrap_or_default();
    let delimiter = target.query("delimiter").filter(|delimiter| !delimiter.is_empty());
    let continued = target.query("continuation-token").is_some();
    let after = target.query("continuation-token").or_else(|| target.query("start-after")).unwrap_or_default();
    let limit = target.query("max-keys").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let spelled = |text: &str| match target.query("encoding-type") {
        Some("url") => utf8_percent_encode(text, PLAIN_PATH).to_string(),
        _ => text.replace('&', "&amp;").replace('<', "&lt;"),
    };

    let (mut contents, mut folded, mut last, mut more) = (String::new(), Vec::<&str>::new(), "", false);
    let mut count = 0;
    let first = if after > prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
    for (key, object) in objects.range::<str, _>((first, Bound::Unbounded)) {
        let Some(below) = key.strip_prefix(prefix) else { break };
        let fold =
            delimiter.and_then(|delimiter| below.find(delimiter).map(|at| &key[..prefix.len() + at + delimiter.len()]));
        // What a page ended with does not come again when it is continued. Behind a name it does: what lies below a
        // folded name comes after it.
        if fold.is_some_and(|fold| (continued && fold == after) || folded.last() == Some(&fold)) {
            continue;
        }
        if count == limit {
            more = true;
            break;
        }
        count += 1;
        if let Some(fold) = fold {
            folded.push(fold);
            last = fold;
            continue;
        }
        last = key;
        let modified = object.modified.format(&Rfc3339).unwrap();
        write!(
            contents,
            "<Contents><Key>{}</Key><LastModified>{modified}</LastModified><ETag>&quot;an-object&quot;</ETag>\
             <Size>{}</Size></Contents>",
            spelled(key),
            object.size()
        )
        .unwrap();
    }
    for fold in folded {
        write!(contents, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", spelled(fold)).unwrap();
    }
    if more {
        let token = last.replace('&', "&amp;").replace('<', "&lt;");
        write!(contents, "<NextContinuationToken>{token}</NextContinuationToken>").unwrap();
    }
    xml(&format!(
        "<ListBucketResult><Name>{}</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{limit}</MaxKeys>\
         <IsTruncated>{more}</IsTruncated>{contents}</ListBucketResult>",
        target.bucket,
        spelled(prefix),
    ))
}

/// All uploads in parts below a prefix, in one page.
pub(super) fn uploads(target: &Target, kind: UploadListing, uploads: &HashMap<String, Upload>) -> Response<Body> {
    let prefix = target.query("prefix").unwrap_or_default();
    let is_listed = |key: &str| match kind {
        UploadListing::Prefix => key.starts_with(prefix),
        UploadListing::WholeKey => key == prefix,
    };
    let mut found: Vec<_> = uploads.iter().filter(|(_, upload)| is_listed(&upload.key)).collect();
    found.sort_by(|(id, one), (other, next)| (&one.key, id).cmp(&(&next.key, other)));
    let entries = found.iter().fold(String::new(), |mut entries, (id, upload)| {
        let (key, started) = (&upload.key, upload.started.format(&Rfc3339).unwrap());
        write!(entries, "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{started}</Initiated></Upload>")
            .unwrap();
        entries
    });
    let (bucket, count) = (&target.bucket, found.len());
    xml(&format!(
        "<ListMultipartUploadsResult><Bucket>{bucket}</Bucket><MaxUploads>{count}</MaxUploads>\
         <IsTruncated>false</IsTruncated>{entries}</ListMultipartUploadsResult>"
    ))
}

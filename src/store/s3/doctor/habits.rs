//! What the bucket does by itself: encryption, classes of storage, old versions, what nobody finished.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use object_store::client::HttpRequestBody;
use serde::Deserialize;

use crate::store::{
    Store as _,
    doctor::Verdict,
    s3::{
        S3,
        doctor::{Examination, Said, Tried, advice::Advice, failed, nonsense, step::Step, way::text},
        failure::BODY_MAX,
        settings::Encryption,
        wire::beginning,
        xml,
    },
};

/// `GetBucketVersioning`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Versioning {
    status: String,
}

impl xml::Answer for Versioning {
    const ROOT: &'static str = "VersioningConfiguration";
}

impl Examination<'_> {
    /// Compares what an object's headers say with what was asked for.
    pub(super) fn described(&mut self, headers: &HeaderMap) {
        let writing = self.settings.writing.clone();
        let encryption = text(headers, "x-amz-server-side-encryption");
        self.seen.kms = encryption.as_deref().is_some_and(|kind| kind.starts_with("aws:kms"));
        match encrypted(&writing.encryption, encryption.as_deref()) {
            Ok(sentence) => self.record.note(Step::Encryption.name(), Verdict::Fine, sentence),
            Err(sentence) => self.heed(Step::Encryption, Advice::failure(sentence)),
        }
        let Some(wanted) = &writing.storage_class else { return };
        // S3 does not name the class that it takes by default.
        let class = text(headers, "x-amz-storage-class").unwrap_or_else(|| "STANDARD".to_owned());
        let (verdict, sentence) = if class == *wanted {
            (Verdict::Fine, class)
        } else {
            (Verdict::Warning, format!("{wanted} was asked for, and the store keeps the object in {class}"))
        };
        self.record.note(Step::StorageClass.name(), verdict, sentence);
    }

    pub(super) async fn habits(&mut self) {
        let store = Arc::clone(&self.store);
        self.attempt(Step::Versioning, versioning(&store)).await;
        self.abandoned().await;
    }

    /// Parts that nobody asks for are paid for all the same.
    async fn abandoned(&mut self) {
        let (store, age) = (Arc::clone(&self.store), self.plan.purge_age);
        let (root, before) = (self.plan.root.clone(), self.clock.now() - age);
        let work = async {
            let pending = store.pending(&root).await.map_err(|error| failed(&error))?;
            let old = pending.iter().filter(|pending| pending.started < before).count();
            let days = age.as_secs().div_ceil(24 * 3600);
            Ok(match old {
                0 => Said::fine(format!("no upload in parts is older than {days} d")),
                _ => Said::warning(format!(
                    "{old} uploads in parts are older than {days} d: the purge removes them (storage.maintenance.\
                     uploadpurging), or a lifecycle rule AbortIncompleteMultipartUpload"
                )),
            })
        };
        match self.timed(work).await {
            // Whoever may not list them has heard so already.
            Err(failure) if failure.answer().is_some() => {
                self.skip(Step::Abandoned, "uploads in parts cannot be listed");
            }
            tried => drop(self.judge(Step::Abandoned, tried)),
        }
    }
}

async fn versioning(store: &S3) -> Tried {
    let request = Request::get(store.bucket.bucket(&[("versioning", "")])).body(HttpRequestBody::from(Bytes::new()));
    let answer = match store.transport.send(request.map_err(nonsense)?).await {
        Err(failure) if failure.answer().is_some_and(|answer| matches!(answer.status, 404 | 405 | 501)) => {
            return Ok(Said::fine("the store has none"));
        }
        answer => answer?,
    };
    let body = beginning(answer.into_body(), BODY_MAX).await.map_err(nonsense)?;
    let versioning: Versioning = xml::read(&body).map_err(nonsense)?;
    Ok(kept(&versioning.status))
}

fn kept(status: &str) -> Said {
    match status {
        "Enabled" => Said::warning(
            "the bucket keeps every version: what is deleted or written over stays and is paid for, unless the bucket \
             has a lifecycle rule NoncurrentVersionExpiration (with ExpiredObjectDeleteMarker)",
        ),
        "Suspended" => Said::fine("suspended: nothing new is kept, old versions stay"),
        _ => Said::fine("off: what is deleted is gone"),
    }
}

/// Whether an object is encrypted as it was asked for.
fn encrypted(wanted: &Encryption, found: Option<&str>) -> Result<String, String> {
    let expected = match wanted {
        Encryption::Bucket => {
            return Ok(found.map_or_else(
                || "none that the store tells of".to_owned(),
                |kind| format!("{kind}, as the bucket does by itself"),
            ));
        }
        Encryption::Aes256 => "AES256",
        Encryption::Kms { .. } => "aws:kms",
    };
    match found {
        Some(kind) if kind == expected => Ok(format!("{kind}, as asked for")),
        Some(kind) => Err(format!("{expected} was asked for, and the store says {kind}")),
        None => Err(format!(
            "{expected} was asked for, and the store says nothing of it: objects may lie there as they are; set \
             encryption up in the store, or write encrypt: false"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_is_what_was_asked_for_or_a_failure() {
        let kms = Encryption::Kms { key_id: "k".to_owned() };
        assert!(encrypted(&Encryption::Bucket, None).is_ok());
        assert!(encrypted(&Encryption::Bucket, Some("aws:kms")).is_ok());
        assert!(encrypted(&Encryption::Aes256, Some("AES256")).is_ok());
        assert!(encrypted(&kms, Some("aws:kms")).is_ok());
        assert!(encrypted(&kms, Some("AES256")).is_err());
        assert!(encrypted(&Encryption::Aes256, None).is_err_and(|sentence| sentence.contains("encrypt: false")));
    }

    #[test]
    fn versions_are_warned_about_while_they_are_kept() {
        assert_eq!(kept("Enabled").verdict, Verdict::Warning);
        assert!(kept("Enabled").sentence.contains("NoncurrentVersionExpiration"));
        assert_eq!(kept("").verdict, Verdict::Fine);
        let read: Versioning = xml::read(b"<VersioningConfiguration/>").unwrap();
        assert_eq!(read.status, "");
    }
}

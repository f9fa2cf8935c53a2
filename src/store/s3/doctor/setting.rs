//! Which of the settings about new objects a store does not take: found by leaving them out, one at a time.

use crate::store::s3::{
    doctor::{
        advice::{Advice, is_refusal, list, said},
        policy::{Grant, Place, Resource},
    },
    failure::Failure,
    settings::{Checksum, Encryption, Writing},
};

/// What a write was tried without (or, the last, with).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Setting {
    Acl,
    StorageClass,
    Encryption,
    Checksum,
    /// It was asked for where it had not been.
    NoEncryption,
}

/// What writes could be like instead.
pub(super) fn others(writing: &Writing) -> Vec<(Setting, Writing)> {
    let all = [
        (Setting::Acl, Writing { acl: None, ..writing.clone() }),
        (Setting::StorageClass, Writing { storage_class: None, ..writing.clone() }),
        (Setting::Checksum, Writing { checksum: Checksum::None, ..writing.clone() }),
        match writing.encryption {
            Encryption::Bucket => {
                (Setting::NoEncryption, Writing { encryption: Encryption::Aes256, ..writing.clone() })
            }
            _ => (Setting::Encryption, Writing { encryption: Encryption::Bucket, ..writing.clone() }),
        },
    ];
    all.into_iter().filter(|(_, other)| other != writing).collect()
}

/// What to do about a setting without which (or, the last, with which) the same write succeeded.
pub(super) fn blame(setting: Setting, failure: &Failure, writing: &Writing, place: &Place) -> Advice {
    let said = failure.answer().map_or_else(|| failure.to_string(), said);
    let refused = failure.answer().is_some_and(is_refusal);
    let lacking = |action: &str, resource, remark: String| {
        let grants = vec![Grant::new(action, resource)];
        let sentence = format!("{said}: {} is not granted{remark}", list(&grants, place));
        Advice { grants, ..Advice::failure(sentence) }
    };
    match setting {
        Setting::Acl if refused => {
            let acl = writing.acl.as_deref().unwrap_or_default();
            let remark = format!(", which objectacl: {acl} needs; or leave it out");
            lacking("s3:PutObjectAcl", Resource::Objects, remark)
        }
        Setting::Acl => Advice::failure(format!(
            "{said}: objects are taken without an access list only: leave objectacl out, or write objectownership: true"
        )),
        Setting::StorageClass => Advice::failure(format!(
            "{said}: the store takes objects, but not in storageclass: {}: leave it out, or write NONE",
            writing.storage_class.as_deref().unwrap_or_default()
        )),
        Setting::Checksum => {
            Advice::failure(format!("{said}: the store does not take checksums: write checksum_disabled: true"))
        }
        Setting::NoEncryption => Advice::failure(format!(
            "{said}: the bucket takes encrypted objects only: write encrypt: true (and keyid, where a key of its own is \
             wanted)"
        )),
        Setting::Encryption => match &writing.encryption {
            Encryption::Kms { .. } if refused => {
                let remark = ", which writing with keyid needs; reading needs kms:Decrypt";
                lacking("kms:GenerateDataKey", Resource::Key, remark.to_owned())
            }
            Encryption::Kms { key_id } => Advice::failure(format!(
                "{said}: the store does not encrypt with keyid: {key_id}: is it there, in this region, and enabled?"
            )),
            _ => Advice::failure(format!(
                "{said}: the store does not encrypt (SSE-S3) when it is asked to: set it up there, or write encrypt: false"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::store::s3::failure::{Answer, Trouble};

    fn kms() -> Encryption {
        Encryption::Kms { key_id: "1-2".to_owned() }
    }

    fn full() -> Writing {
        Writing {
            encryption: kms(),
            storage_class: Some("STANDARD_IA".to_owned()),
            acl: Some("private".to_owned()),
            checksum: Checksum::Sha256,
        }
    }

    #[test]
    fn one_setting_is_left_out_at_a_time() {
        let names = |writing: &Writing| others(writing).into_iter().map(|(setting, _)| setting).collect::<Vec<_>>();
        assert_eq!(names(&Writing::default()), [Setting::NoEncryption]);
        assert_eq!(names(&full()), [Setting::Acl, Setting::StorageClass, Setting::Checksum, Setting::Encryption]);
        assert!(others(&full()).iter().all(|(_, other)| *other != full()));
    }

    #[test]
    fn each_setting_is_named_with_what_it_wants() {
        let place = Place {
            bucket: "b".to_owned(),
            root: String::new(),
            region: "eu-west-1".to_owned(),
            key: Some("1-2".to_owned()),
        };
        let check = |setting, status, code: &str, encryption: Encryption, expected: &str, grants: &[&str]| {
            let answer = Answer { status, code: code.to_owned(), ..Answer::default() };
            let failure = Failure { method: Method::PUT, trouble: Trouble::Answer(answer) };
            let advice = blame(setting, &failure, &Writing { encryption, ..full() }, &place);
            assert!(advice.sentence.contains(expected), "{}", advice.sentence);
            assert_eq!(advice.grants.iter().map(|grant| grant.action.as_str()).collect::<Vec<_>>(), grants);
        };
        check(Setting::Acl, 403, "AccessDenied", kms(), "s3:PutObjectAcl on arn:aws:s3:::b/*", &["s3:PutObjectAcl"]);
        check(Setting::Acl, 400, "AccessControlListNotSupported", kms(), "objectownership: true", &[]);
        check(Setting::StorageClass, 400, "InvalidStorageClass", kms(), "storageclass: STANDARD_IA", &[]);
        check(Setting::Checksum, 501, "NotImplemented", kms(), "checksum_disabled: true", &[]);
        check(
            Setting::Encryption,
            403,
            "AccessDenied",
            kms(),
            "arn:aws:kms:eu-west-1:*:key/1-2",
            &["kms:GenerateDataKey"],
        );
        check(Setting::Encryption, 400, "KMS.DisabledException", kms(), "keyid: 1-2", &[]);
        check(Setting::Encryption, 501, "NotImplemented", Encryption::Aes256, "encrypt: false", &[]);
        check(Setting::NoEncryption, 403, "AccessDenied", Encryption::Bucket, "encrypt: true", &[]);
    }
}

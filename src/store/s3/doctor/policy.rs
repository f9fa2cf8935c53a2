//! What an identity must be allowed, in the words of Amazon's policies (service authorization reference).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::store::s3::settings::{Encryption, Settings};

/// Amazon's partitions: how their regions begin, and how their resources' names do.
const PARTITIONS: &[(&str, &str)] = &[
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("eusc-", "aws-eusc"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("us-iso-", "aws-iso"),
    ("eu-isoe-", "aws-iso-e"),
    ("", "aws"),
];

const KEY_ALIAS: &str = "alias/";

/// What policies call the bucket, and whatever else they speak of.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) bucket: String,
    /// Segments with a slash between them and none around them.
    pub(super) root: String,
    pub(super) region: String,
    /// The key that objects are to be encrypted with, as it was configured: an ARN, an id or an alias.
    pub(super) key: Option<String>,
}

/// What an action is about.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Resource {
    Bucket,
    /// All of ours.
    Objects,
    /// The key of the encryption, where nobody named it more closely.
    Key,
    /// An ARN that the store named.
    Named(String),
}

/// One action that is to be allowed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Grant {
    pub(super) resource: Resource,
    pub(super) action: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: &'static str,
    action: BTreeSet<String>,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<BTreeMap<&'static str, BTreeMap<&'static str, String>>>,
}

impl Place {
    pub(super) fn of(settings: &Settings) -> Self {
        let key = match &settings.writing.encryption {
            Encryption::Kms { key_id } => Some(key_id.clone()),
            Encryption::Bucket | Encryption::Aes256 => None,
        };
        let root = settings.root.trim_matches('/').to_owned();
        Self { bucket: settings.bucket.clone(), root, region: settings.region.clone(), key }
    }

    /// The ARN of what an action is about; for a key that nobody named by its ARN a pattern that matches it.
    pub(super) fn arn(&self, resource: &Resource) -> String {
        let (partition, region, bucket) = (self.partition(), &self.region, &self.bucket);
        match resource {
            Resource::Bucket => format!("arn:{partition}:s3:::{bucket}"),
            Resource::Objects if self.root.is_empty() => format!("arn:{partition}:s3:::{bucket}/*"),
            Resource::Objects => format!("arn:{partition}:s3:::{bucket}/{}/*", self.root),
            Resource::Named(arn) => arn.clone(),
            Resource::Key => match &self.key {
                Some(arn) if arn.starts_with("arn:") && self.alias().is_none() => arn.clone(),
                Some(id) if self.alias().is_none() => format!("arn:{partition}:kms:{region}:*:key/{id}"),
                _ => format!("arn:{partition}:kms:{region}:*:key/*"),
            },
        }
    }

    /// `alias/…`, where the key goes by one.
    fn alias(&self) -> Option<&str> {
        let key = self.key.as_deref()?;
        key.find(KEY_ALIAS).map(|at| &key[at..])
    }

    fn partition(&self) -> &'static str {
        PARTITIONS.iter().find(|(beginning, _)| self.region.starts_with(beginning)).map_or("aws", |(_, name)| name)
    }

    /// The smallest policy that allows all of these; `None` where there are none.
    pub(super) fn policy(&self, grants: &BTreeSet<Grant>) -> Option<String> {
        let mut actions = BTreeMap::<&Resource, BTreeSet<String>>::new();
        for grant in grants {
            actions.entry(&grant.resource).or_default().insert(grant.action.clone());
        }
        let statements = actions.into_iter().map(|(resource, action)| Statement {
            effect: "Allow",
            action,
            resource: self.arn(resource),
            condition: self.condition(resource),
        });
        let policy = Policy { version: "2012-10-17", statement: statements.collect() };
        let written = serde_json::to_string_pretty(&policy).expect("texts and lists of texts make JSON");
        (!policy.statement.is_empty()).then_some(written)
    }

    /// A policy cannot name a key by its alias, but keys that have one.
    fn condition(&self, resource: &Resource) -> Option<BTreeMap<&'static str, BTreeMap<&'static str, String>>> {
        let alias = self.alias().filter(|_| *resource == Resource::Key)?;
        let named = BTreeMap::from([("kms:ResourceAliases", alias.to_owned())]);
        Some(BTreeMap::from([("ForAnyValue:StringEquals", named)]))
    }
}

impl Grant {
    pub(super) fn new(action: &str, resource: Resource) -> Self {
        Self { resource, action: action.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(region: &str, root: &str, key: Option<&str>) -> Place {
        let key = key.map(str::to_owned);
        Place { bucket: "images".to_owned(), root: root.to_owned(), region: region.to_owned(), key }
    }

    #[test]
    fn names_of_resources() {
        let check = |region, root, key, resource, expected: &str| {
            assert_eq!(place(region, root, key).arn(&resource), expected);
        };
        check("eu-west-1", "", None, Resource::Bucket, "arn:aws:s3:::images");
        check("eu-west-1", "", None, Resource::Objects, "arn:aws:s3:::images/*");
        check("cn-north-1", "a/b", None, Resource::Objects, "arn:aws-cn:s3:::images/a/b/*");
        check("us-gov-west-1", "", None, Resource::Bucket, "arn:aws-us-gov:s3:::images");
        check("us-isob-east-1", "", None, Resource::Bucket, "arn:aws-iso-b:s3:::images");
        check("us-iso-east-1", "", None, Resource::Bucket, "arn:aws-iso:s3:::images");
        check("eu-west-1", "", Some("1-2"), Resource::Key, "arn:aws:kms:eu-west-1:*:key/1-2");
        check("eu-west-1", "", Some("alias/r"), Resource::Key, "arn:aws:kms:eu-west-1:*:key/*");
        let arn = "arn:aws:kms:eu-west-1:1:key/1-2";
        check("eu-west-1", "", Some(arn), Resource::Key, arn);
        let alias = "arn:aws:kms:eu-west-1:1:alias/r";
        check("eu-west-1", "", Some(alias), Resource::Key, "arn:aws:kms:eu-west-1:*:key/*");
    }

    #[test]
    fn a_policy_names_each_resource_once() {
        let place = place("eu-west-1", "root", Some("alias/r"));
        let grants = [
            ("s3:PutObject", Resource::Objects),
            ("s3:ListBucket", Resource::Bucket),
            ("s3:GetObject", Resource::Objects),
            ("kms:Decrypt", Resource::Key),
            ("s3:PutObject", Resource::Objects),
        ];
        let grants = grants.map(|(action, resource)| Grant::new(action, resource)).into();
        let policy: serde_json::Value = serde_json::from_str(&place.policy(&grants).unwrap()).unwrap();
        let expected = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": "arn:aws:s3:::images"},
                {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::images/root/*"},
                {
                    "Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": "arn:aws:kms:eu-west-1:*:key/*",
                    "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/r"}},
                },
            ],
        });
        assert_eq!(policy, expected);
        assert_eq!(place.policy(&BTreeSet::new()), None);
    }
}

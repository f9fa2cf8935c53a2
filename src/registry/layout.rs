//! Where everything lies: the only speller of object keys.
//!
//! Content, links and tags lie exactly where CNCF Distribution puts them, so that either registry can take over the
//! other's store. What is ours alone lies where Distribution never looks, or where its upload purger cleans up after
//! us too:
//!
//! ```text
//! docker/registry/v2/
//!   blobs/<algorithm>/<2 hex>/<hex>/data                        all content
//!   repositories/<name>/
//!     _layers/<algorithm>/<hex>/link                            the repository holds this blob
//!     _manifests/revisions/<algorithm>/<hex>/link               the repository holds this manifest
//!     _manifests/tags/<tag>/current/link                        what the tag names now
//!     _manifests/tags/<tag>/index/<algorithm>/<hex>/link        what it ever named
//!     _manifests/referrers/<alg>/<hex>/<alg>/<hex>              ours: subject, then the manifest that names it
//!     _uploads/<uuid>/startedat
//!     _uploads/<uuid>/{journal,segments,tail}/...               ours
//!   _pierhead/{format,secret,probe,acme}                        ours
//! ```
//!
//! The longest key has about 600 bytes: names have at most 255, tags 128, digests 128 digits.

use std::fmt;

use uuid::Uuid;

use crate::{
    oci::{digest::Digest, name::RepositoryName, tag::Tag},
    store::key::Key,
};

/// Below the store's root, as in every release of Distribution.
const ROOT: &str = "docker/registry/v2";

/// What a repository's uploads lie below: how they are told from the parts of longer repository names.
pub const UPLOADS: &str = "_uploads";

/// Where below a tag lies what it names now, and the prefix of what it ever named.
pub const TAG_CURRENT: &str = "current/link";
pub const TAG_HISTORY: &str = "index";

/// Builds the keys of one registry.
///
/// Its arguments are values that cannot be wrong, so it never fails. Where the answer is called a prefix, things lie
/// below it and nothing lies at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout;

impl Layout {
    /// The prefix of everything.
    #[must_use]
    pub fn root(&self) -> Key {
        proven(ROOT)
    }

    /// The content of a blob or manifest.
    #[must_use]
    pub fn blob_data(&self, digest: &Digest) -> Key {
        let (algorithm, hex) = (digest.algorithm(), digest.hex());
        key(format_args!("blobs/{algorithm}/{}/{hex}/data", &hex[..2]))
    }

    /// The prefix of all content.
    #[must_use]
    pub fn blobs(&self) -> Key {
        key(format_args!("blobs"))
    }

    /// The link that makes a blob one of this repository.
    #[must_use]
    pub fn layer_link(&self, repository: &RepositoryName, digest: &Digest) -> Key {
        below(repository, format_args!("_layers/{}/link", Path(digest)))
    }

    /// The prefix of a repository's manifests: the repository exists while something lies below it.
    #[must_use]
    pub fn manifests(&self, repository: &RepositoryName) -> Key {
        below(repository, format_args!("_manifests"))
    }

    /// The prefix of the links to all manifests of a repository.
    #[must_use]
    pub fn revisions(&self, repository: &RepositoryName) -> Key {
        below(repository, format_args!("_manifests/revisions"))
    }

    /// The link that makes a manifest one of this repository.
    #[must_use]
    pub fn manifest_revision(&self, repository: &RepositoryName, digest: &Digest) -> Key {
        below(repository, format_args!("_manifests/revisions/{}/link", Path(digest)))
    }

    /// The prefix of all tags of a repository.
    #[must_use]
    pub fn tags(&self, repository: &RepositoryName) -> Key {
        below(repository, format_args!("_manifests/tags"))
    }

    /// The prefix of one tag: its current link and its index.
    #[must_use]
    pub fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Key {
        below(repository, format_args!("_manifests/tags/{tag}"))
    }

    /// The link to what a tag names now.
    #[must_use]
    pub fn tag_current(&self, repository: &RepositoryName, tag: &Tag) -> Key {
        below(repository, format_args!("_manifests/tags/{tag}/{TAG_CURRENT}"))
    }

    /// The link to something that a tag names or once named.
    #[must_use]
    pub fn tag_index(&self, repository: &RepositoryName, tag: &Tag, digest: &Digest) -> Key {
        below(repository, format_args!("_manifests/tags/{tag}/{TAG_HISTORY}/{}/link", Path(digest)))
    }

    /// The prefix of the records of everything that names this subject.
    #[must_use]
    pub fn referrers(&self, repository: &RepositoryName, subject: &Digest) -> Key {
        below(repository, format_args!("_manifests/referrers/{}", Path(subject)))
    }

    /// The record of one manifest that names a subject.
    #[must_use]
    pub fn referrer(&self, repository: &RepositoryName, subject: &Digest, digest: &Digest) -> Key {
        below(repository, format_args!("_manifests/referrers/{}/{}", Path(subject), Path(digest)))
    }

    /// The prefix of all repositories.
    #[must_use]
    pub fn repositories(&self) -> Key {
        key(format_args!("repositories"))
    }

    /// The prefix of all uploads of a repository.
    #[must_use]
    pub fn uploads(&self, repository: &RepositoryName) -> Key {
        below(repository, format_args!("_uploads"))
    }

    /// The prefix of everything that belongs to one upload.
    #[must_use]
    pub fn upload(&self, repository: &RepositoryName, id: &Uuid) -> Key {
        below(repository, format_args!("_uploads/{id}"))
    }

    /// When an upload began: UTC, RFC 3339, whole seconds.
    #[must_use]
    pub fn upload_started_at(&self, repository: &RepositoryName, id: &Uuid) -> Key {
        below(repository, format_args!("_uploads/{id}/startedat"))
    }

    /// The prefix of an upload's journal.
    #[must_use]
    pub fn upload_journal(&self, repository: &RepositoryName, id: &Uuid) -> Key {
        below(repository, format_args!("_uploads/{id}/journal"))
    }

    /// One record of an upload's journal; the order of the keys is the order of the records.
    #[must_use]
    pub fn upload_record(&self, repository: &RepositoryName, id: &Uuid, sequence: u64) -> Key {
        below(repository, format_args!("_uploads/{id}/journal/{sequence:010}"))
    }

    /// The bytes of one segment of an upload.
    #[must_use]
    pub fn upload_segment(&self, repository: &RepositoryName, id: &Uuid, number: u64) -> Key {
        below(repository, format_args!("_uploads/{id}/segments/{number:010}/data"))
    }

    /// Bytes too few for a part: the `number`th leftover of the request that reserved the journal at `sequence`.
    #[must_use]
    pub fn upload_tail(&self, repository: &RepositoryName, id: &Uuid, sequence: u64, number: u64) -> Key {
        below(repository, format_args!("_uploads/{id}/tail/{sequence:010}/{number:010}"))
    }

    /// Which versions of us may read and write this store.
    #[must_use]
    pub fn format(&self) -> Key {
        key(format_args!("_pierhead/format"))
    }

    /// The key that signs upload states when the configuration gives none.
    #[must_use]
    pub fn secret(&self) -> Key {
        key(format_args!("_pierhead/secret"))
    }

    /// The prefix of what is kept about certificates that we ask for.
    #[must_use]
    pub fn acme(&self) -> Key {
        key(format_args!("_pierhead/acme"))
    }

    /// Where it is tried at the start what the store can do; nothing stays there.
    #[must_use]
    pub fn probe(&self, id: &Uuid) -> Key {
        key(format_args!("_pierhead/probe/{id}"))
    }

    /// Stands where GitLab's metadata database holds the tags, so that the tree alone tells only half the truth.
    #[must_use]
    pub fn database_lock(&self) -> Key {
        proven("docker/registry/lockfiles/database-in-use")
    }
}

/// A digest as two segments of a key.
struct Path<'a>(&'a Digest);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.algorithm(), self.0.hex())
    }
}

fn below(repository: &RepositoryName, relative: fmt::Arguments<'_>) -> Key {
    key(format_args!("repositories/{repository}/{relative}"))
}

fn key(relative: fmt::Arguments<'_>) -> Key {
    proven(&format!("{ROOT}/{relative}"))
}

fn proven(text: &str) -> Key {
    text.parse().expect("validated names make non-empty segments, far fewer bytes than a key may have")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> (RepositoryName, Tag, Digest) {
        let name = "a".repeat(crate::oci::name::LEN_MAX).parse().expect("legal");
        let tag = "t".repeat(128).parse().expect("legal");
        let digest = format!("sha512:{}", "0".repeat(128)).parse().expect("legal");
        (name, tag, digest)
    }

    #[test]
    fn keys_are_those_of_distribution() {
        let name: RepositoryName = "g/app".parse().expect("legal");
        let tag: Tag = "v1".parse().expect("legal");
        let hex = format!("ab{}", "0".repeat(62));
        let digest: Digest = format!("sha256:{hex}").parse().expect("legal");
        let id = Uuid::nil();
        let layout = Layout;
        let check = |key: Key, expected: String| assert_eq!(key.to_string(), format!("docker/registry/v2/{expected}"));

        check(layout.blob_data(&digest), format!("blobs/sha256/ab/{hex}/data"));
        check(layout.layer_link(&name, &digest), format!("repositories/g/app/_layers/sha256/{hex}/link"));
        let manifests = "repositories/g/app/_manifests";
        check(layout.manifest_revision(&name, &digest), format!("{manifests}/revisions/sha256/{hex}/link"));
        check(layout.tag_current(&name, &tag), format!("{manifests}/tags/v1/current/link"));
        check(layout.tag_index(&name, &tag, &digest), format!("{manifests}/tags/v1/index/sha256/{hex}/link"));
        check(layout.referrer(&name, &digest, &digest), format!("{manifests}/referrers/sha256/{hex}/sha256/{hex}"));
        let upload = format!("repositories/g/app/_uploads/{id}");
        check(layout.upload_started_at(&name, &id), format!("{upload}/startedat"));
        check(layout.upload_record(&name, &id, 7), format!("{upload}/journal/0000000007"));
        check(layout.upload_segment(&name, &id, 12), format!("{upload}/segments/0000000012/data"));
        check(layout.upload_tail(&name, &id, 3, 1), format!("{upload}/tail/0000000003/0000000001"));
        check(layout.format(), "_pierhead/format".to_owned());
    }

    /// Key building may panic only on a key that is too long: the longest arguments show that none is.
    #[test]
    fn the_longest_names_fit() {
        let (name, tag, digest) = longest();
        let layout = Layout;
        let keys = [
            layout.layer_link(&name, &digest),
            layout.manifest_revision(&name, &digest),
            layout.tag_current(&name, &tag),
            layout.tag_index(&name, &tag, &digest),
            layout.referrer(&name, &digest, &digest),
            layout.upload_record(&name, &Uuid::nil(), u64::MAX),
            layout.upload_segment(&name, &Uuid::nil(), u64::MAX),
            layout.upload_tail(&name, &Uuid::nil(), u64::MAX, u64::MAX),
        ];
        let longest = keys.iter().map(|key| key.as_str().len()).max();
        assert!(longest.is_some_and(|bytes| bytes < 700), "{longest:?}");
    }
}

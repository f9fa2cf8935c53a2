//! Blobs belong to repositories by their links, and nothing else vouches for them.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use pierhead::{
    oci::digest::{Algorithm, Digest},
    registry::error::Error,
};

use crate::registry_tree::{Fixture, data, layer, name, sha256};

async fn read(fixture: &Fixture, digest: &Digest) -> Result<Bytes, Error> {
    let blobs = fixture.registry.blobs(&fixture.name);
    let blob = blobs.stat(digest).await?;
    let chunks: Vec<Bytes> = blobs.open(&blob, None).await?.content.try_collect().await?;
    Ok(chunks.concat().into())
}

#[expect(clippy::needless_pass_by_value, reason = "an outcome is judged where it is made")]
fn unknown<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::BlobUnknown(_))), "{result:?}");
}

#[tokio::test]
async fn content_is_read_through_the_link() {
    let fixture = Fixture::new().await;
    for algorithm in Algorithm::ALL {
        for content in ["some content of a layer", ""] {
            let digest = fixture.blob_with(algorithm, content);
            assert_eq!(read(&fixture, &digest).await.unwrap(), content);
        }
    }
    let digest = fixture.blob("0123456789");
    let blobs = fixture.registry.blobs(&fixture.name);
    let object = blobs.open(&blobs.stat(&digest).await.unwrap(), Some(2..5)).await.unwrap();
    assert_eq!(object.content.try_collect::<Vec<_>>().await.unwrap().concat(), b"234");

    let other = name("g/other");
    unknown(fixture.registry.blobs(&other).stat(&digest).await);
    unknown(blobs.stat(&sha256("never pushed")).await);
}

/// The old registry kept what was pushed as sha512 under its sha256.
#[tokio::test]
async fn a_sha512_link_may_lead_to_a_sha256() {
    let fixture = Fixture::new().await;
    let kept = fixture.blob("content");
    let asked = fixture.blob_with(Algorithm::Sha512, "content");
    fixture.tree.remove(&data(&asked));
    fixture.tree.write(&layer(&fixture.name, &asked), kept.to_string());
    assert_eq!(read(&fixture, &asked).await.unwrap(), "content");
    // The other way round would give one content for another's digest.
    fixture.tree.write(&layer(&fixture.name, &kept), sha256("x").to_string());
    unknown(fixture.registry.blobs(&fixture.name).stat(&kept).await);
}

#[tokio::test]
async fn damaged_links_count_as_missing() {
    let fixture = Fixture::new().await;
    let digest = fixture.blob("content");
    for junk in [Vec::new(), b"junk".to_vec(), vec![0xff; 71], vec![b'a'; 1 << 20]] {
        fixture.tree.write(&layer(&fixture.name, &digest), junk);
        unknown(fixture.registry.blobs(&fixture.name).stat(&digest).await);
    }
    fixture.registry.blobs(&fixture.name).delete(&digest).await.expect("what is damaged can be removed");
}

#[tokio::test]
async fn what_is_remembered_never_vouches_for_anything() {
    let fixture = Fixture::new().await;
    let digest = fixture.blob("content");
    let blobs = fixture.registry.blobs(&fixture.name);
    let blob = blobs.stat(&digest).await.unwrap();

    // Data collected by another process.
    fixture.tree.remove(&data(&digest));
    unknown(blobs.open(&blob, None).await.map(drop));
    unknown(blobs.stat(&digest).await);
    unknown(blobs.adopt(&digest).await);
    unknown(fixture.registry.blobs(&name("g/other")).mount(&digest, &fixture.name).await);

    // A link removed through another replica.
    fixture.blob("content");
    blobs.stat(&digest).await.unwrap();
    fixture.tree.remove(&layer(&fixture.name, &digest));
    unknown(blobs.stat(&digest).await);
}

#[tokio::test]
async fn mounts_and_deletes_touch_links_only() {
    let fixture = Fixture::new().await;
    let digest = fixture.blob("content");
    let other = name("other");
    let there = fixture.registry.blobs(&other);
    unknown(there.mount(&digest, &name("third")).await);
    assert_eq!(there.mount(&digest, &fixture.name).await.unwrap().size, 7);
    assert_eq!(fixture.tree.objects()[&format!("docker/registry/v2/{}", layer(&other, &digest))], digest.to_string());

    fixture.registry.blobs(&fixture.name).delete(&digest).await.unwrap();
    unknown(fixture.registry.blobs(&fixture.name).delete(&digest).await);
    assert_eq!(there.stat(&digest).await.unwrap().digest, digest);
    assert_eq!(fixture.registry.blobs(&name("third")).adopt(&digest).await.unwrap().size, 7);
}

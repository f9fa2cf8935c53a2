//! The suite that every backend passes. A test is run on each of [`backends`] and names the one that broke it.

use std::{collections::BTreeSet, net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::join_all};
use pierhead::{
    clock::SystemClock,
    secret::Secret,
    store::{
        Depth, Distance, Entry, Limits, Listing, Multipart, Part, Parts, Precondition, Slot, Store, Writers,
        error::Kind,
        filesystem::{Filesystem, PageCache},
        key::Key,
        memory::Memory,
        s3::{
            S3,
            settings::{Addressing, Copying, Credentials, Patience, Presigning, Settings, Transfer, Writing},
        },
    },
    tls::trust,
};
use tempfile::TempDir;

use crate::support::s3::{ACCESS_KEY, REGION, SECRET_KEY, client::Bucket, seaweed, sink::Sink};

/// Of the parts below, in bytes, where the backend does not mind: small enough for tests.
const PART: u64 = 16;

pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) store: Arc<dyn Store>,
    /// Of parts that are not the last, in bytes.
    part: u64,
    place: Place,
}

/// What a backend's content lies in; it goes with this.
enum Place {
    Nowhere,
    Directory { _root: TempDir },
    Bucket { _bucket: Bucket },
    Sink { _sink: Sink },
}

fn memory(name: &'static str, parts: Parts) -> Backend {
    let limits = Limits { parts, parts_max: 10_000, distance: Distance::Here };
    let store = Arc::new(Memory::new(limits, Arc::new(SystemClock)));
    Backend { name, store, part: PART, place: Place::Nowhere }
}

fn backends() -> Vec<Backend> {
    let directory = |name, cache| {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(Filesystem::open(root.path()).unwrap().with_page_cache(cache));
        Backend { name, store, part: PART, place: Place::Directory { _root: root } }
    };
    let mut backends = vec![
        memory("memory", Parts::Appended),
        memory("memory, equal parts", Parts::Equal { size: PART }),
        directory("filesystem", PageCache::KEEP),
        directory("filesystem, partly past the page cache", PageCache::first(PART)),
        directory("filesystem, past the page cache", PageCache::DROP),
    ];
    backends.extend(seaweed());
    backends
}

/// A bucket of `SeaweedFS`, with the smallest parts that S3 allows.
fn seaweed() -> Option<Backend> {
    const PART_MIN: u64 = 5 << 20;
    let seaweed = seaweed::shared()?;
    let bucket = seaweed.bucket();
    let store = s3_store(seaweed.address, &bucket.name, PART_MIN, keys());
    Some(Backend { name: "s3", store, part: PART_MIN, place: Place::Bucket { _bucket: bucket } })
}

/// An endpoint that lists as S3 does, by whole keys.
fn sink() -> Backend {
    const PART_MIN: u64 = 5 << 20;
    let sink = Sink::start();
    let store = s3_store(sink.address, "bucket", PART_MIN, keys());
    Backend { name: "s3, by whole keys", store, part: PART_MIN, place: Place::Sink { _sink: sink } }
}

pub(super) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

async fn put(store: &dyn Store, at: &str, content: &str) {
    store.put(&key(at), vec![Bytes::from(content.to_owned())], Precondition::Always).await.unwrap();
}

pub(super) async fn read(store: &dyn Store, at: &str, range: Option<Range<u64>>) -> Result<String, Kind> {
    let object = store.get(&key(at), range).await.map_err(|error| error.kind)?;
    let chunks: Vec<Bytes> = object.content.try_collect().await.map_err(|error| error.kind)?;
    Ok(String::from_utf8(chunks.concat()).unwrap())
}

/// Keys that are written down.
fn keys() -> Credentials {
    Credentials::Static {
        key_id: ACCESS_KEY.to_owned(),
        secret: Secret::new(SECRET_KEY.to_owned()),
        session_token: None,
    }
}

/// A store over a bucket at this endpoint.
pub(super) fn s3_store(endpoint: SocketAddr, bucket: &str, part: u64, credentials: Credentials) -> Arc<dyn Store> {
    let settings = Settings {
        endpoint: format!("http://{endpoint}").parse().unwrap(),
        region: REGION.to_owned(),
        bucket: bucket.to_owned(),
        addressing: Addressing::Path,
        root: "below/here".to_owned(),
        credentials,
        writing: Writing::default(),
        transfer: Transfer { part_size: part },
        copying: Copying { threshold: part, part_size: part, concurrency: 4 },
        presigning: Presigning { lifetime: Duration::from_mins(1), window: Duration::from_mins(1), endpoint: None },
        tls: trust::nobody().unwrap(),
        credentials_tls: trust::nobody().unwrap(),
        user_agent: "pierhead-tests".to_owned(),
        patience: Patience::default(),
    };
    Arc::new(S3::open(settings, Arc::new(SystemClock)).unwrap())
}

impl Backend {
    async fn part(&self, upload: &Multipart, number: u32, content: &str) -> Part {
        let slot = Slot { number, offset: u64::from(number - 1) * self.part };
        self.store.put_part(upload, slot, vec![Bytes::from(content.to_owned())]).await.unwrap()
    }

    /// What flushing an upload that is gone comes to: a bucket keeps each part before it answers, so that flushing asks
    /// it nothing, and the next part would tell.
    async fn flush(&self, upload: &Multipart) -> Result<(), Kind> {
        let flushed = self.store.flush(upload).await.map_err(|error| error.kind);
        match self.place {
            Place::Bucket { .. } | Place::Sink { .. } => {
                assert_eq!(flushed, Ok(()));
                let part = self.store.put_part(upload, Slot { number: 1, offset: 0 }, vec![Bytes::from("late")]);
                part.await.map(drop).map_err(|error| error.kind)
            }
            Place::Nowhere | Place::Directory { .. } => flushed,
        }
    }

    /// The content of a part that is not the last.
    fn full(&self, letter: char) -> String {
        letter.to_string().repeat(usize::try_from(self.part).unwrap())
    }
}

/// Compares what may be too long to be shown.
fn assert_content(found: Result<String, Kind>, expected: &str, context: &str) {
    let found = found.unwrap_or_else(|kind| panic!("{context}: {kind:?}"));
    assert!(found == expected, "{context}: {:.40}… of {} bytes", found, found.len());
}

fn listing(prefix: &str, depth: Depth, after: Option<&str>, limit: usize) -> Listing {
    Listing { prefix: key(prefix), depth, after: after.map(str::to_owned), limit }
}

/// Every name below a prefix in pages of a size; prefixes end in a slash here.
async fn names(store: &dyn Store, prefix: &str, depth: Depth, limit: usize) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store.list(&listing(prefix, depth, after.as_deref(), limit)).await.unwrap();
        assert!(page.entries.len() <= limit);
        names.extend(page.entries.iter().map(|entry| match entry {
            Entry::Object { name, .. } => name.clone(),
            Entry::Prefix { name } => format!("{name}/"),
        }));
        after = page.entries.last().map(|entry| entry.name().to_owned());
        if !page.more {
            return names;
        }
    }
}

#[tokio::test]
async fn objects_are_read_as_written() {
    for Backend { name, store, .. } in backends() {
        let content = vec![Bytes::from("01"), Bytes::new(), Bytes::from("234"), Bytes::from("56789")];
        store.put(&key("a/b"), content, Precondition::Always).await.unwrap();
        for (range, expected) in [
            (None, Ok("0123456789")),
            (Some(0..10), Ok("0123456789")),
            (Some(0..1), Ok("0")),
            (Some(1..6), Ok("12345")),
            (Some(9..10), Ok("9")),
            (Some(9..11), Err(Kind::Range)),
            (Some(10..11), Err(Kind::Range)),
            (Some(3..3), Err(Kind::Range)),
            (Some(0..u64::MAX), Err(Kind::Range)),
        ] {
            let found = read(&*store, "a/b", range.clone()).await;
            assert_eq!(found, expected.map(str::to_owned), "{name}: {range:?}");
        }
        let meta = store.head(&key("a/b")).await.unwrap();
        assert_eq!(meta.size, 10, "{name}");
        assert!((time::OffsetDateTime::now_utc() - meta.modified).abs() < time::Duration::minutes(1), "{name}");
        put(&*store, "a/b", "").await;
        assert_eq!(read(&*store, "a/b", None).await.as_deref(), Ok(""), "{name}");
        assert_eq!(store.head(&key("a/none")).await.unwrap_err().kind, Kind::NotFound, "{name}");
        assert_eq!(read(&*store, "a", None).await, Err(Kind::NotFound), "{name}: a prefix is no object");
        assert_eq!(read(&*store, "none/at/all", None).await, Err(Kind::NotFound), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_creators_wins() {
    for Backend { name, store, .. } in backends() {
        let attempts = (0..32).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let content = vec![Bytes::from(format!("writer {n:02}"))];
                store.put(&key("deep/er/one"), content, Precondition::Absent).await.map(|()| n)
            })
        });
        let results: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1, "{name}");
        let lost = results.iter().filter_map(|result| result.as_ref().err());
        assert!(lost.into_iter().all(|error| error.kind == Kind::AlreadyExists), "{name}");
        assert_eq!(read(&*store, "deep/er/one", None).await, Ok(format!("writer {:02}", winners[0])), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_leave_one_whole_object() {
    for Backend { name, store, .. } in backends() {
        let attempts = ('a'..='z').map(|letter| {
            let store = Arc::clone(&store);
            let content = letter.to_string().repeat(10_000);
            tokio::spawn(async move { put(&*store, "x/one", &content).await })
        });
        join_all(attempts).await.into_iter().for_each(Result::unwrap);
        let found = read(&*store, "x/one", None).await.unwrap();
        assert_eq!(found.len(), 10_000, "{name}");
        assert_eq!(found.chars().collect::<BTreeSet<_>>().len(), 1, "{name}");
    }
}

/// A delete empties a directory that a put is about to use: neither may fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_do_not_hinder_puts_nearby() {
    for Backend { name, store, .. } in backends() {
        let tasks = (0..8).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let at = format!("shared/parent/of/{n}");
                for round in 0..40 {
                    put(&*store, &at, &round.to_string()).await;
                    assert_eq!(read(&*store, &at, None).await, Ok(round.to_string()));
                    store.delete(&[key(&at)]).await.unwrap();
                }
            })
        });
        for result in join_all(tasks).await {
            assert!(result.is_ok(), "{name}");
        }
        assert!(names(&*store, "shared", Depth::All, 10).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn deleting_what_is_missing_is_success() {
    for Backend { name, store, .. } in backends() {
        put(&*store, "a/b/c", "1").await;
        put(&*store, "a/d", "2").await;
        store.delete(&[key("a/none"), key("a/b/c"), key("z/y/x"), key("a/b/c")]).await.unwrap();
        assert_eq!(read(&*store, "a/b/c", None).await, Err(Kind::NotFound), "{name}");
        store.delete(&[key("a")]).await.unwrap();
        assert_eq!(read(&*store, "a/d", None).await.as_deref(), Ok("2"), "{name}: a key is not its children");
    }
}

#[tokio::test]
async fn listings_are_ordered_and_paged() {
    for Backend { name, store, place, .. } in backends().into_iter().chain([sink()]) {
        for at in ["1", "1-rc", "1.0", "a/b", "a/c/d", "a-b", "a.b", "a0", "b/x"] {
            put(&*store, &format!("t/{at}"), at).await;
        }
        put(&*store, "t-other/1", "").await;
        // SeaweedFS walks directories where S3 goes by whole keys: what lies in `a` comes before `a-b`.
        let by_keys = !matches!(place, Place::Bucket { .. });
        for limit in [1, 2, 3, 100] {
            if by_keys {
                assert_eq!(
                    names(&*store, "t", Depth::All, limit).await,
                    ["1", "1-rc", "1.0", "a-b", "a.b", "a/b", "a/c/d", "a0", "b/x"],
                    "{name}: all, by {limit}"
                );
            }
            assert_eq!(names(&*store, "t/a", Depth::All, limit).await, ["b", "c/d"], "{name}: all, by {limit}");
            assert_eq!(
                names(&*store, "t", Depth::Children, limit).await,
                ["1", "1-rc", "1.0", "a/", "a-b", "a.b", "a0", "b/"],
                "{name}: children, by {limit}"
            );
        }
        assert!(names(&*store, "none", Depth::All, 10).await.is_empty(), "{name}");
        assert!(names(&*store, "none", Depth::Children, 10).await.is_empty(), "{name}");
        assert!(names(&*store, "t/1", Depth::Children, 10).await.is_empty(), "{name}: nothing is below an object");
        for (depth, after, expected) in [
            (Depth::All, "a", "a-b"),
            (Depth::All, "a/", "a/b"),
            (Depth::All, "a/bb", "a/c/d"),
            (Depth::All, "a/c/d", "a0"),
            (Depth::Children, "a", "a-b"),
            (Depth::Children, "1-", "1-rc"),
        ] {
            if depth == Depth::All && !by_keys {
                continue;
            }
            let page = store.list(&listing("t", depth, Some(after), 1)).await.unwrap();
            assert_eq!(page.entries[0].name(), expected, "{name}: {depth:?} after {after}");
            assert!(page.more, "{name}");
        }
        let page = store.list(&listing("t", Depth::All, Some("1-"), 1)).await.unwrap();
        assert!(matches!(&page.entries[0], Entry::Object { meta, .. } if meta.size == 4), "{name}: sizes are told");
    }
}

#[tokio::test]
async fn pages_cover_many_names_once() {
    for Backend { name, store, .. } in backends() {
        let expected: Vec<String> = (0..5000).map(|n| format!("tag-{n:05}")).collect();
        let writes = expected.iter().map(|tag| {
            let (store, at) = (&store, key(&format!("many/{tag}")));
            async move { store.put(&at, Vec::new(), Precondition::Always).await.unwrap() }
        });
        futures_util::stream::iter(writes).buffer_unordered(16).collect::<()>().await;
        for depth in [Depth::All, Depth::Children] {
            assert!(names(&*store, "many", depth, 700).await == expected, "{name}: {depth:?}");
        }
        assert!(names(&*store, "many", Depth::All, 10_000).await == expected, "{name}");
    }
}

#[tokio::test]
async fn parts_become_an_object_at_completion() {
    for backend in backends() {
        let Backend { name, store, .. } = &backend;
        let upload = store.begin(&key("u/data")).await.unwrap();
        let third = backend.part(&upload, 3, "tail").await;
        let first = backend.part(&upload, 1, &backend.full('a')).await;
        backend.part(&upload, 2, &backend.full('x')).await;
        let second = backend.part(&upload, 2, &backend.full('b')).await;
        store.flush(&upload).await.unwrap();
        assert_eq!(read(&**store, "u/data", None).await, Err(Kind::NotFound), "{name}: invisible before");
        assert!(names(&**store, "u", Depth::All, 10).await.is_empty(), "{name}: unlisted before");
        let pending = store.pending(&key("u")).await.unwrap();
        assert_eq!(pending.iter().map(|pending| &pending.upload).collect::<Vec<_>>(), [&upload], "{name}");
        assert!(store.pending(&key("other")).await.unwrap().is_empty(), "{name}");

        let parts = [first, second, third];
        store.complete(&upload, &parts, Writers::Sole).await.unwrap();
        let expected = format!("{}{}tail", backend.full('a'), backend.full('b'));
        assert_content(read(&**store, "u/data", None).await, &expected, name);
        store.complete(&upload, &parts, Writers::Sole).await.expect("a lost answer makes the caller ask again");
        assert!(store.pending(&key("u")).await.unwrap().is_empty(), "{name}");
        let slot = Slot { number: 4, offset: 2 * backend.part + 4 };
        let late = store.put_part(&upload, slot, vec![Bytes::from("late")]).await;
        assert_eq!(late.unwrap_err().kind, Kind::UploadGone, "{name}");
        assert_eq!(backend.flush(&upload).await, Err(Kind::UploadGone), "{name}");
    }
}

#[tokio::test]
async fn an_upload_that_is_gone_is_told_from_one_that_was_completed() {
    for backend in backends() {
        let Backend { name, store, .. } = &backend;
        let upload = store.begin(&key("u/data")).await.unwrap();
        let parts = [backend.part(&upload, 1, "content").await];
        store.abort(&upload).await.unwrap();
        store.abort(&upload).await.expect("dropped twice");
        let gone = store.complete(&upload, &parts, Writers::MayLinger).await;
        assert_eq!(gone.unwrap_err().kind, Kind::UploadGone, "{name}");
        put(&**store, "u/data", "replaced by another").await;
        let gone = store.complete(&upload, &parts, Writers::Sole).await;
        assert_eq!(gone.unwrap_err().kind, Kind::UploadGone, "{name}: of another size");
        put(&**store, "u/data", "CONTENT").await;
        store.complete(&upload, &parts, Writers::Sole).await.expect("of that size");
        // What is no identifier at all a bucket may refuse in its own way.
        let odd = matches!(backend.place, Place::Nowhere | Place::Directory { .. });
        let id = if odd { "../../etc/passwd".to_owned() } else { upload.id.replace(|c| c != '0', "0") };
        let stranger = Multipart { key: key("u/data"), id };
        assert_eq!(backend.flush(&stranger).await, Err(Kind::UploadGone), "{name}");
        store.abort(&stranger).await.unwrap();
    }
}

#[tokio::test]
async fn completion_replaces_what_stands() {
    for backend in backends() {
        let Backend { name, store, .. } = &backend;
        put(&**store, "u/data", "old").await;
        let upload = store.begin(&key("u/data")).await.unwrap();
        let parts = [backend.part(&upload, 1, "new content").await];
        store.complete(&upload, &parts, Writers::Sole).await.unwrap();
        assert_eq!(read(&**store, "u/data", None).await.as_deref(), Ok("new content"), "{name}");
    }
}

#[tokio::test]
async fn a_lingering_writer_cannot_touch_the_object() {
    for backend in backends() {
        let Backend { name, store, .. } = &backend;
        for (at, writers) in [("u/linger", Writers::MayLinger), ("u/sole", Writers::Sole)] {
            let upload = store.begin(&key(at)).await.unwrap();
            let parts = [
                backend.part(&upload, 1, &backend.full('a')).await,
                backend.part(&upload, 2, &backend.full('b')).await,
            ];
            backend.part(&upload, 3, "behind what is named").await;
            store.complete(&upload, &parts, writers).await.unwrap();
            let slot = Slot { number: 3, offset: 2 * backend.part };
            let late = store.put_part(&upload, slot, vec![Bytes::from("later still")]).await;
            assert!(late.is_err(), "{name}");
            let expected = backend.full('a') + &backend.full('b');
            assert_content(read(&**store, at, None).await, &expected, &format!("{name}: {writers:?}"));
        }
    }
}

#[tokio::test]
async fn parts_are_refused_that_make_no_object() {
    for backend in backends() {
        let Backend { name, store, .. } = &backend;
        let upload = store.begin(&key("u/data")).await.unwrap();
        let first = backend.part(&upload, 1, &backend.full('a')).await;
        let missing = Part { number: 2, length: backend.part, ..first.clone() };
        let result = store.complete(&upload, &[first, missing], Writers::Sole).await;
        assert_eq!(result.unwrap_err().kind, Kind::Corrupt, "{name}");
        assert_eq!(read(&**store, "u/data", None).await, Err(Kind::NotFound), "{name}");
    }
}

#[tokio::test]
async fn equal_parts_are_enforced() {
    let backend = memory("memory", Parts::Equal { size: PART });
    let store = &backend.store;
    let upload = store.begin(&key("u/data")).await.unwrap();
    let short = backend.part(&upload, 1, "short").await;
    let second = backend.part(&upload, 2, &backend.full('b')).await;
    for (parts, legal) in [
        (vec![short.clone(), second.clone()], false),
        (vec![second.clone(), short.clone()], false),
        (vec![second.clone()], false),
        (vec![Part { tag: "else".to_owned(), ..short.clone() }], false),
        (vec![short.clone()], true),
    ] {
        let result = store.complete(&upload, &parts, Writers::Sole).await;
        assert_eq!(result.is_ok(), legal, "{parts:?}");
    }
}

#[tokio::test]
async fn appended_parts_may_be_named_as_one() {
    for backend in backends() {
        let Backend { name, store, .. } = &backend;
        if store.limits().parts != Parts::Appended {
            continue;
        }
        let upload = store.begin(&key("u/data")).await.unwrap();
        backend.part(&upload, 1, &backend.full('a')).await;
        backend.part(&upload, 2, &backend.full('b')).await;
        let one = Part { number: 1, tag: String::new(), length: 2 * backend.part };
        store.complete(&upload, &[one], Writers::Sole).await.unwrap();
        assert_content(read(&**store, "u/data", None).await, &(backend.full('a') + &backend.full('b')), name);
    }
}

#[tokio::test]
async fn promotion_joins_whole_objects() {
    for backend in backends() {
        let Backend { name, store, .. } = &backend;
        // Only the last source may be smaller than a part.
        let (one, two) = (backend.full('1'), backend.full('2') + &backend.full('3'));
        for (at, content) in [("s/1", one.as_str()), ("s/2", &two), ("s/3", "three")] {
            put(&**store, at, content).await;
        }
        let all = [key("s/1"), key("s/2"), key("s/3")];
        store.promote(&all, &key("t/deep/joined")).await.unwrap();
        assert_content(read(&**store, "t/deep/joined", None).await, &format!("{one}{two}three"), name);
        store.promote(&all[..1], &key("t/deep/one")).await.unwrap();
        store.promote(&all[..1], &key("t/deep/one")).await.expect("once more");
        assert_content(read(&**store, "t/deep/one", None).await, &one, name);
        store.promote(&all[2..], &key("t/deep/one")).await.unwrap();
        assert_eq!(
            read(&**store, "t/deep/one", None).await.as_deref(),
            Ok("three"),
            "{name}: another size is replaced"
        );
        let missing = store.promote(&[key("s/none")], &key("t/x")).await;
        assert_eq!(missing.unwrap_err().kind, Kind::NotFound, "{name}");
        let missing = store.promote(&[key("s/1"), key("s/none")], &key("t/x")).await;
        assert_eq!(missing.unwrap_err().kind, Kind::NotFound, "{name}");
        put(&**store, "s/3", "changed").await;
        store.delete(&all[..1]).await.unwrap();
        assert_eq!(read(&**store, "t/deep/one", None).await.as_deref(), Ok("three"), "{name}: sources live on apart");
        assert_eq!(names(&**store, "t", Depth::All, 10).await, ["deep/joined", "deep/one"], "{name}: and nothing else");
    }
}

#[tokio::test]
async fn a_stream_may_be_dropped_half_way() {
    for Backend { name, store, .. } in backends() {
        let content: Vec<Bytes> = (0..4_u8).map(|n| Bytes::from(vec![n; 1 << 20])).collect();
        store.put(&key("big"), content.clone(), Precondition::Always).await.unwrap();
        for _ in 0..3 {
            let mut object = store.get(&key("big"), None).await.unwrap();
            assert!(!object.content.next().await.unwrap().unwrap().is_empty(), "{name}");
        }
        let object = store.get(&key("big"), Some((1 << 20) - 5..(3 << 20) + 7)).await.unwrap();
        assert_eq!(object.meta.size, 4 << 20, "{name}");
        let found: Vec<Bytes> = object.content.try_collect().await.unwrap();
        assert!(found.concat() == content.concat()[(1 << 20) - 5..(3 << 20) + 7], "{name}");
        store.delete(&[key("big")]).await.unwrap();
    }
}

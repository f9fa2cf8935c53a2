//! What only a directory can suffer.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::Command,
};

use bytes::Bytes;
use futures_util::StreamExt;
use pierhead::store::{Depth, Entry, Listing, Precondition, Slot, Store, Writers, error::Kind, filesystem::Filesystem};

use crate::store::contract::{key, read};

fn every(prefix: &str, depth: Depth) -> Listing {
    Listing { prefix: key(prefix), depth, after: None, limit: 100 }
}

fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn names_that_no_file_can_have_are_of_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Filesystem::open(root.path()).unwrap();
    let long = format!("t/{}", "n".repeat(300));
    assert_eq!(read(&store, &long, None).await, Err(Kind::NotFound));
    assert_eq!(store.head(&key(&long)).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(store.list(&every(&long, Depth::Children)).await.unwrap().entries, []);
    assert_eq!(store.list(&every(&long, Depth::All)).await.unwrap().entries, []);
    let put = store.put(&key(&long), vec![Bytes::from("x")], Precondition::Always).await;
    assert_eq!(put.unwrap_err().kind, Kind::Denied);
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("root");
    let store = Filesystem::open(&root).unwrap();
    let put = |at: &str| {
        let (store, at) = (store.clone(), key(at));
        async move { store.put(&at, vec![Bytes::from("mine")], Precondition::Always).await }
    };
    put("t/real").await.unwrap();
    fs::write(base.path().join("secret"), "outside").unwrap();
    symlink("../../secret", root.join("t/link")).unwrap();
    symlink(base.path(), root.join("t/out")).unwrap();
    symlink("real", root.join("t/inner")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("t/fifo")).status().unwrap().success());
    fs::create_dir(root.join("t/directory")).unwrap();
    for (at, expected) in [
        ("t/link", Kind::Corrupt),
        ("t/inner", Kind::Corrupt),
        ("t/out/secret", Kind::Corrupt),
        ("t/fifo", Kind::Corrupt),
        ("t/directory", Kind::NotFound),
        ("t/real/below", Kind::NotFound),
    ] {
        assert_eq!(read(&store, at, None).await, Err(expected), "{at}");
        assert_eq!(store.head(&key(at)).await.unwrap_err().kind, expected, "{at}");
    }
    for at in ["t/out/new", "t/real/new", "t/directory"] {
        assert_eq!(put(at).await.unwrap_err().kind, Kind::Corrupt, "{at}");
    }
    assert_eq!(store.promote(&[key("t/link")], &key("t/new")).await.unwrap_err().kind, Kind::Corrupt);
    let listed =
        |page: pierhead::store::Page| page.entries.iter().map(|entry| entry.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(listed(store.list(&every("t", Depth::All)).await.unwrap()), ["real"]);
    assert_eq!(listed(store.list(&every("t", Depth::Children)).await.unwrap()), ["directory", "real"]);
    assert_eq!(files(base.path()), ["root", "secret"], "nothing was written outside");
    put("t/link").await.expect("a write replaces the link itself");
    assert_eq!(fs::read_to_string(base.path().join("secret")).unwrap(), "outside");
    assert_eq!(read(&store, "t/link", None).await.as_deref(), Ok("mine"));
}

#[tokio::test]
async fn unfinished_files_are_hidden_reported_and_dropped() {
    let root = tempfile::tempdir().unwrap();
    let store = Filesystem::open(root.path()).unwrap();
    let upload = store.begin(&key("t/data")).await.unwrap();
    let stale = "other.0193a1f0-0000-4000-8000-000000000000.tmp";
    fs::write(root.path().join("t").join(stale), "left by a crash").unwrap();
    for depth in [Depth::All, Depth::Children] {
        assert!(store.list(&every("t", depth)).await.unwrap().entries.is_empty(), "{depth:?}");
    }
    let pending = store.pending(&key("t")).await.unwrap();
    let mut keys: Vec<_> = pending.iter().map(|pending| pending.upload.key.to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["t/data", "t/other"]);
    for pending in pending {
        store.abort(&pending.upload).await.unwrap();
    }
    assert_eq!(files(root.path()), [""; 0], "the directory went with the last of them");
    assert_eq!(store.flush(&upload).await.unwrap_err().kind, Kind::UploadGone);
}

#[tokio::test]
async fn nothing_temporary_remains() {
    let root = tempfile::tempdir().unwrap();
    let store = Filesystem::open(root.path()).unwrap();
    let content = || vec![Bytes::from("content")];
    store.put(&key("t/a"), content(), Precondition::Always).await.unwrap();
    store.put(&key("t/b"), content(), Precondition::Absent).await.unwrap();
    assert!(store.put(&key("t/b"), content(), Precondition::Absent).await.is_err());
    let upload = store.begin(&key("t/c")).await.unwrap();
    let part = store.put_part(&upload, Slot { number: 1, offset: 0 }, content()).await.unwrap();
    store.complete(&upload, &[part], Writers::MayLinger).await.unwrap();
    store.promote(&[key("t/a")], &key("t/d")).await.unwrap();
    store.promote(&[key("t/a"), key("t/b")], &key("t/d")).await.unwrap();
    store.promote(&[key("t/a")], &key("t/d")).await.unwrap();
    assert_eq!(files(&root.path().join("t")), ["a", "b", "c", "d"]);
    let node = |name| fs::metadata(root.path().join("t").join(name)).unwrap().ino();
    assert_eq!(node("a"), node("d"), "one source is linked, not copied");
}

#[tokio::test]
async fn a_file_cut_while_it_is_read_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let store = Filesystem::open(root.path()).unwrap();
    store.put(&key("big"), vec![Bytes::from(vec![7; 1 << 20])], Precondition::Always).await.unwrap();
    let mut object = store.get(&key("big"), None).await.unwrap();
    assert!(object.content.next().await.unwrap().is_ok());
    fs::OpenOptions::new().write(true).open(root.path().join("big")).unwrap().set_len(10).unwrap();
    assert_eq!(object.content.next().await.unwrap().unwrap_err().kind, Kind::Corrupt);
    assert!(object.content.next().await.is_none());
}

#[tokio::test]
async fn names_that_no_key_has_are_passed_over() {
    use std::os::unix::ffi::OsStrExt;

    let root = tempfile::tempdir().unwrap();
    let store = Filesystem::open(root.path()).unwrap();
    store.put(&key("t/good"), Vec::new(), Precondition::Always).await.unwrap();
    fs::write(root.path().join("t").join(std::ffi::OsStr::from_bytes(b"bad\xff")), "").unwrap();
    let page = store.list(&every("t", Depth::All)).await.unwrap();
    assert_eq!(page.entries.iter().map(Entry::name).collect::<Vec<_>>(), ["good"]);
}

#[test]
fn a_root_that_is_none_is_named() {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Filesystem::open(&file).unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    symlink(base.path(), base.path().join("link")).unwrap();
    Filesystem::open(&base.path().join("link")).expect("the root itself may be a link");
}

/// Needs the right to mount: says so where it is missing.
#[tokio::test]
async fn a_full_and_a_read_only_medium_are_told() {
    let root = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(root.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: no right to mount a small tmpfs here");
        return;
    }
    let unmount = Unmount(root.path());
    let store = Filesystem::open(root.path()).unwrap();
    let content = |length| vec![Bytes::from(vec![1; length])];
    store.put(&key("t/kept"), content(1000), Precondition::Always).await.unwrap();
    let full = store.put(&key("t/kept"), content(4 << 20), Precondition::Always).await;
    assert_eq!(full.unwrap_err().kind, Kind::Full);
    assert_eq!(read(&store, "t/kept", None).await.map(|text| text.len()), Ok(1000), "the old object stands");
    assert_eq!(files(&root.path().join("t")), ["kept"], "and nothing else is left");
    let upload = store.begin(&key("t/upload")).await.unwrap();
    let full = store.put_part(&upload, Slot { number: 1, offset: 0 }, content(4 << 20)).await;
    assert_eq!(full.unwrap_err().kind, Kind::Full);
    store.abort(&upload).await.unwrap();
    store.put(&key("t/more"), content(1000), Precondition::Always).await.expect("there is room again");
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(root.path()).status();
    assert!(remounted.is_ok_and(|status| status.success()));
    let denied = store.put(&key("t/more"), content(10), Precondition::Always).await;
    assert_eq!(denied.unwrap_err().kind, Kind::Denied, "a medium that became read-only");
    assert_eq!(store.delete(&[key("t/kept")]).await.unwrap_err().kind, Kind::Denied);
    assert_eq!(read(&store, "t/kept", None).await.map(|text| text.len()), Ok(1000), "is still read");
    drop((store, unmount));
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "the tmpfs at {} is still mounted", self.0.display());
    }
}

//! Names below a prefix, in order, with memory for one page and never for a whole directory.

use std::{collections::BinaryHeap, ops::ControlFlow, os::fd::OwnedFd};

use rustix::{
    fs::{AtFlags, Dir, FileType, Stat, statat},
    io::Errno,
};

use crate::store::{
    Depth, Entry, Listing, Multipart, Page, Pending,
    filesystem::{
        failure::Failure,
        parts::unfinished,
        tree::{self, Tree},
    },
    key::Key,
};

/// Most names of one directory that a walk keeps at a time; of a larger one it is read again from where it was.
const BATCH_LEN: usize = 4096;

pub(super) fn list(tree: &Tree, listing: &Listing) -> Result<Page, Failure> {
    match listing.depth {
        Depth::Children => children(tree, listing),
        Depth::All => all(tree, listing),
    }
}

/// Every upload and every temporary file below a prefix. As its start counts the time of its last write, so that one
/// that is still written to never looks old.
pub(super) fn pending(tree: &Tree, prefix: &Key) -> Result<Vec<Pending>, Failure> {
    let mut found = Vec::new();
    let mut visit = |name: &str, stat: &Stat| {
        let key = unfinished(name).and_then(|(name, id)| Some((prefix.join(name).ok()?, id)));
        if let Some((key, id)) = key {
            found.push(Pending { upload: Multipart { key, id: id.to_owned() }, started: tree::meta(stat)?.modified });
        }
        Ok(ControlFlow::Continue(()))
    };
    let _end = Walk { tree, wanted: Wanted::Unfinished, visit: &mut visit }.descend(prefix.as_str(), "", "")?;
    Ok(found)
}

/// One level. A file's age is looked up only when it is going to be told.
fn children(tree: &Tree, listing: &Listing) -> Result<Page, Failure> {
    let directory = match tree.directory(listing.prefix.as_str()) {
        Err(failure) if failure.is_not_found() => return Ok(Page::default()),
        other => other?,
    };
    let after = listing.after.as_deref().unwrap_or("");
    let (names, more) = smallest(&directory, listing.limit, |name| match name.form {
        Form::File => name.text.as_str() > after && unfinished(&name.text).is_none(),
        Form::Directory => name.text.as_str() > after,
    })?;
    let mut entries = Vec::with_capacity(names.len());
    for Name { text, form } in names {
        match form {
            Form::Directory => entries.push(Entry::Prefix { name: text }),
            Form::File => {
                if let Some(stat) = look(&directory, &text)? {
                    entries.push(Entry::Object { name: text, meta: tree::meta(&stat)? });
                }
            }
        }
    }
    Ok(Page { entries, more })
}

fn all(tree: &Tree, listing: &Listing) -> Result<Page, Failure> {
    let mut page = Page::default();
    let mut visit = |name: &str, stat: &Stat| {
        if page.entries.len() == listing.limit {
            page.more = true;
            return Ok(ControlFlow::Break(()));
        }
        page.entries.push(Entry::Object { name: name.to_owned(), meta: tree::meta(stat)? });
        Ok(ControlFlow::Continue(()))
    };
    let after = listing.after.as_deref().unwrap_or("");
    let _end = Walk { tree, wanted: Wanted::Objects, visit: &mut visit }.descend(listing.prefix.as_str(), "", after)?;
    Ok(page)
}

type Visit<'a> = dyn FnMut(&str, &Stat) -> Result<ControlFlow<()>, Failure> + 'a;

/// A visit of every file of one kind below a directory, in the order of the bytes of their relative names.
struct Walk<'a> {
    tree: &'a Tree,
    wanted: Wanted,
    /// Called with the relative name.
    visit: &'a mut Visit<'a>,
}

#[derive(Clone, Copy)]
enum Wanted {
    Objects,
    Unfinished,
}

impl Walk<'_> {
    /// `above` is the directory's name relative to the start of the walk, empty or with a slash at its end; `after`
    /// is relative to the directory. A directory goes by its name with a slash: so `a-b` stands before `a/b`.
    fn descend(&mut self, path: &str, above: &str, after: &str) -> Result<ControlFlow<()>, Failure> {
        let mut cursor = String::new();
        loop {
            let directory = match self.tree.directory(path) {
                Err(failure) if failure.is_not_found() => return Ok(ControlFlow::Continue(())),
                other => other?,
            };
            let (names, more) = smallest(&directory, BATCH_LEN, |name| self.admits(name, &cursor, after))?;
            for name in &names {
                let relative = format!("{above}{}", name.text);
                let flow = match name.form {
                    Form::Directory => {
                        let below = format!("{path}/{}", name.text.trim_end_matches('/'));
                        self.descend(&below, &relative, after.strip_prefix(&name.text).unwrap_or(""))?
                    }
                    Form::File => match look(&directory, &name.text)? {
                        Some(stat) => (self.visit)(&relative, &stat)?,
                        None => ControlFlow::Continue(()),
                    },
                };
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            match names.into_iter().next_back() {
                Some(last) if more => cursor = last.text,
                _ => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    fn admits(&self, name: &mut Name, cursor: &str, after: &str) -> bool {
        let fits = match name.form {
            Form::Directory => {
                name.text.push('/');
                name.text.as_str() > after || after.starts_with(&name.text)
            }
            Form::File => match self.wanted {
                Wanted::Objects => name.text.as_str() > after && unfinished(&name.text).is_none(),
                Wanted::Unfinished => unfinished(&name.text).is_some(),
            },
        };
        fits && name.text.as_str() > cursor
    }
}

#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Name {
    text: String,
    form: Form,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Form {
    File,
    Directory,
}

/// The first `count` of a directory's names that are admitted, in order, and whether there are others. What is neither
/// file nor directory, and what no key can name, is passed over.
fn smallest(
    directory: &OwnedFd,
    count: usize,
    mut admits: impl FnMut(&mut Name) -> bool,
) -> Result<(Vec<Name>, bool), Failure> {
    // The largest name on top: it makes room for a smaller one.
    let mut kept = BinaryHeap::new();
    let mut more = false;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let Ok(text) = entry.file_name().to_str() else { continue };
        if matches!(text, "." | "..") {
            continue;
        }
        let form = match entry.file_type() {
            FileType::Unknown => match statat(directory, text, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            },
            known => known,
        };
        let form = match form {
            FileType::RegularFile => Form::File,
            FileType::Directory => Form::Directory,
            _ => continue,
        };
        let mut name = Name { text: text.to_owned(), form };
        if !admits(&mut name) {
            continue;
        }
        kept.push(name);
        if kept.len() > count {
            kept.pop();
            more = true;
        }
    }
    Ok((kept.into_sorted_vec(), more))
}

/// Looks at a file; `None` when it has gone, or became something else, since its directory was read.
fn look(directory: &OwnedFd, name: &str) -> Result<Option<Stat>, Failure> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(tree::is_regular(&stat).then_some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

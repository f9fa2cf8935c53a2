//! Whole objects: written, found, read, copied, listed and removed.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderMap, Request};
use object_store::client::HttpRequestBody;

use crate::store::{
    Depth, Listing, Precondition, Store as _,
    doctor::Verdict,
    error::Kind,
    key::Key,
    locate::{Locate as _, Visitor},
    s3::{
        S3,
        doctor::{
            Examination, Said, Tried,
            advice::{Access, Advice},
            failed, nonsense,
            setting::{blame, others},
            step::Step,
            way::fetch,
        },
        failure::Failure,
        probe::is_unknown_to_the_store,
        settings::Settings,
    },
};

/// Names below the scratch prefix: their order and depth matter to [`Examination::list`].
const FIRST: &str = "a-first";
const CREATED: &str = "b-created";
const COPIED: &str = "c/copied";
const MISSING: &str = "z-missing";

const CONTENT: &[u8] = b"pierhead was here";
const MIDDLE: Range<u64> = 3..12;

const ONE_REPLICA: &str = "run one replica only, as two could both believe that they go on with an upload";

/// Said of steps that need an object.
const NOTHING_WRITTEN: &str = "nothing could be written that this step needs";

impl Examination<'_> {
    pub(super) fn first(&self) -> Key {
        self.key(FIRST)
    }

    pub(super) async fn write(&mut self) {
        let (store, key) = (Arc::clone(&self.store), self.first());
        let written = self.timed(put(&store, &key)).await;
        self.wrote(&key, &written);
        let Err(failure) = &written else {
            self.judge(Step::Put, written);
            self.seen.put = Access::Granted;
            return;
        };
        self.seen.put = Access::of(failure);
        if !self.blamed(failure, &key).await {
            self.judge(Step::Put, written);
        }
    }

    /// Looks for a setting without which the write succeeds; the rest is then examined without it.
    async fn blamed(&mut self, failure: &Failure, key: &Key) -> bool {
        // Whoever says what is missing need not be tried out.
        if failure.answer().is_none_or(|answer| answer.message.contains("not authorized to perform")) {
            return false;
        }
        for (setting, writing) in others(&self.settings.writing) {
            let settings = Settings { writing, ..self.settings.clone() };
            let Ok(store) = S3::open(settings.clone(), Arc::clone(&self.clock)) else { continue };
            let written = self.timed(put(&store, key)).await;
            self.wrote(key, &written);
            if written.is_ok() {
                self.heed(Step::Put, blame(setting, failure, &self.settings.writing, &self.place));
                self.seen.put = Access::Granted;
                self.settings = settings;
                self.store = Arc::new(store);
                return true;
            }
        }
        false
    }

    /// What was written, and what was not.
    pub(super) async fn read(&mut self) {
        let (store, key) = (Arc::clone(&self.store), self.first());
        if self.seen.put != Access::Granted {
            self.skip(Step::Head, NOTHING_WRITTEN);
            self.head_missing().await;
            return self.skip(Step::Get, NOTHING_WRITTEN);
        }
        let found = self.timed(head(&store, &key)).await;
        self.seen.head = found.as_ref().map_or_else(Access::of, |_| Access::Granted);
        match found {
            Ok(headers) => {
                self.record.note(Step::Head.name(), Verdict::Fine, "an object is found that was just written");
                self.described(&headers);
            }
            Err(failure) => drop(self.judge(Step::Head, Err(failure))),
        }
        self.head_missing().await;
        self.seen.get = self.attempt(Step::Get, get(&store, &key, None)).await;
        if self.seen.get == Access::Granted {
            self.attempt(Step::Range, get(&store, &key, Some(MIDDLE))).await;
        }
    }

    pub(super) async fn head_missing(&mut self) {
        let (store, key) = (Arc::clone(&self.store), self.key(MISSING));
        let work = async {
            match head(&store, &key).await {
                Err(failure) if failure.answer().is_some_and(|answer| answer.status == 404) => {
                    Ok(Said::fine("404 for a key that is not there"))
                }
                Ok(_) => Ok(Said::warning("an object is found where none can be: is this a bucket that invents them?")),
                Err(failure) => Err(failure),
            }
        };
        self.attempt(Step::HeadMissing, work).await;
    }

    pub(super) async fn create_only(&mut self) {
        if self.seen.put != Access::Granted {
            return self.skip(Step::Create, NOTHING_WRITTEN);
        }
        let (store, key) = (Arc::clone(&self.store), self.key(CREATED));
        let created = self.timed(create(&store, &key)).await;
        self.wrote(&key, &created);
        if let Ok(Created::First) = created {
            let again = self.timed(create(&store, &key)).await;
            self.judge(Step::Create, again.map(Created::on_meeting_another));
        } else {
            self.judge(Step::Create, created.map(Created::where_nothing_was));
        }
    }

    pub(super) async fn copy(&mut self) {
        if self.seen.put != Access::Granted {
            return self.skip(Step::Copy, NOTHING_WRITTEN);
        }
        let (store, from, to) = (Arc::clone(&self.store), self.first(), self.key(COPIED));
        let copied = self.timed(async { store.copy_whole(&from, &to).await.map_err(|error| failed(&error)) }).await;
        self.wrote(&to, &copied);
        self.judge(Step::Copy, copied.map(|()| Said::fine("an object is copied inside the store")));
    }

    /// Whether names come in order, folded at slashes, and from where they are asked for.
    pub(super) async fn list(&mut self) {
        let store = Arc::clone(&self.store);
        let written = [FIRST, CREATED, COPIED].map(|name| (name, self.left.keys.contains(&self.key(name))));
        let children: Vec<&str> = written
            .iter()
            .filter(|(_, stands)| *stands)
            .map(|(name, _)| name.split('/').next().unwrap_or_default())
            .collect();
        if self.seen.list != Access::Granted {
            return self.skip(Step::List, "the bucket cannot be listed at all");
        }
        if self.seen.put != Access::Granted {
            return self.skip(Step::List, NOTHING_WRITTEN);
        }
        let prefix = self.plan.scratch.clone();
        let work = async {
            let names = |after: Option<&str>| {
                let after = after.map(str::to_owned);
                let listing = Listing { prefix: prefix.clone(), depth: Depth::Children, after, limit: 100 };
                let store = &store;
                async move {
                    let page = store.list(&listing).await.map_err(|error| failed(&error))?;
                    Ok::<Vec<String>, Failure>(page.entries.iter().map(|entry| entry.name().to_owned()).collect())
                }
            };
            let all = names(None).await?;
            // What a step wrote that was not sure of it may be here or not.
            if let Some(lost) = children.iter().find(|child| !all.iter().any(|name| name == *child)) {
                return Ok(Said::warning(format!(
                    "{lost} was written, and is not listed: listings that lag behind hide tags for a while"
                )));
            }
            let rest = names(Some(FIRST)).await?;
            if rest != all.iter().filter(|name| name.as_str() > FIRST).cloned().collect::<Vec<_>>() {
                return Ok(Said::failure("the store does not begin a listing where start-after says"));
            }
            Ok(Said::fine("names come in order, folded at slashes, after the one that is asked for"))
        };
        self.attempt(Step::List, work).await;
    }

    /// Fetches an object as a client does that was sent to it.
    pub(super) async fn redirect(&mut self) {
        if !self.plan.redirecting {
            return;
        }
        if self.seen.get != Access::Granted {
            return self.skip(Step::Redirect, "nothing can be read");
        }
        let (store, key) = (Arc::clone(&self.store), self.first());
        let fetched = self.timed(async {
            let located = store.locate(&key, &Visitor::default()).await.map_err(|error| failed(&error))?;
            let address = located.ok_or_else(|| nonsense("no address can be signed"))?;
            fetch(&self.wire, address).await
        });
        let fetched = fetched.await;
        let at = self.settings.presigning.endpoint.clone();
        let named =
            at.as_ref().map_or_else(|| "the store".to_owned(), |endpoint| format!("redirectendpoint {endpoint}"));
        match fetched {
            Ok(body) if body == CONTENT => {
                let sentence = format!("{named} serves a presigned address without credentials");
                self.record.note(Step::Redirect.name(), Verdict::Fine, sentence);
            }
            Ok(_) => {
                let sentence =
                    format!("{named} serves something else under a presigned address: does it lead to this store?");
                self.heed(Step::Redirect, Advice::failure(sentence));
            }
            // Where clients go, this machine may not come.
            Err(failure) if at.is_some() && failure.answer().is_none() => {
                let sentence =
                    format!("{named} cannot be reached from here ({}); can clients reach it?", failure.trouble);
                self.record.note(Step::Redirect.name(), Verdict::Warning, sentence);
            }
            Err(failure) => drop(self.judge(Step::Redirect, Err(failure))),
        }
    }

    pub(super) async fn delete(&mut self) {
        let (store, key, missing) = (Arc::clone(&self.store), self.first(), self.key(MISSING));
        let deleted = self.attempt(Step::Delete, remove(&store, &key, "an object is removed")).await;
        if deleted == Access::Granted {
            self.left.keys.remove(&key);
            let work = remove(&store, &missing, "removing what is not there is no error");
            self.attempt(Step::DeleteMissing, work).await;
        }
    }
}

/// What came of a write that must meet nothing.
enum Created {
    First,
    Refused,
    /// The store says openly that it does not know the condition.
    Unknown,
}

impl Created {
    fn on_meeting_another(self) -> Said {
        match self {
            Self::Refused => Said::fine("a second writer is refused"),
            Self::First => Said::warning(format!("the store ignores If-None-Match: {ONE_REPLICA}")),
            Self::Unknown => self.where_nothing_was(),
        }
    }

    fn where_nothing_was(self) -> Said {
        match self {
            Self::First => Said::fine("a writer that meets nothing is served"),
            Self::Refused => Said::failure("a writer that meets nothing is refused as if it met something"),
            Self::Unknown => Said::warning(format!("the store does not know If-None-Match: {ONE_REPLICA}")),
        }
    }
}

async fn create(store: &S3, key: &Key) -> Result<Created, Failure> {
    match store.put(key, content(), Precondition::Absent).await {
        Ok(()) => Ok(Created::First),
        Err(error) if error.kind == Kind::AlreadyExists => Ok(Created::Refused),
        Err(error) if is_unknown_to_the_store(&error) => Ok(Created::Unknown),
        Err(error) => Err(failed(&error)),
    }
}

async fn put(store: &S3, key: &Key) -> Tried {
    let put = store.put(key, content(), Precondition::Always).await;
    put.map(|()| Said::fine(format!("{} bytes", CONTENT.len()))).map_err(|error| failed(&error))
}

/// The headers of an object.
async fn head(store: &S3, key: &Key) -> Result<HeaderMap, Failure> {
    let request = Request::head(store.bucket.object(key, &[])).body(HttpRequestBody::from(Bytes::new()));
    let answer = store.transport.send(request.map_err(nonsense)?).await?;
    Ok(answer.into_parts().0.headers)
}

async fn get(store: &S3, key: &Key, range: Option<Range<u64>>) -> Tried {
    let (expected, sentence) = match &range {
        None => (CONTENT, "what was written comes back"),
        Some(range) => {
            let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
            (&CONTENT[start.unwrap_or(0)..end.unwrap_or(CONTENT.len())], "so does a part of it")
        }
    };
    let object = store.get(key, range).await.map_err(|error| failed(&error))?;
    let chunks: Vec<Bytes> = object.content.try_collect().await.map_err(|error| failed(&error))?;
    if chunks.concat() != expected {
        return Err(nonsense("other bytes came back than were written"));
    }
    Ok(Said::fine(sentence))
}

async fn remove(store: &S3, key: &Key, sentence: &str) -> Tried {
    let deleted = store.delete(std::slice::from_ref(key)).await;
    deleted.map(|()| Said::fine(sentence)).map_err(|error| failed(&error))
}

pub(super) fn content() -> Vec<Bytes> {
    vec![Bytes::from_static(CONTENT)]
}

pub(super) const fn content_len() -> u64 {
    CONTENT.len() as u64
}

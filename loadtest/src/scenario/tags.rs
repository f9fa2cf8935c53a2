//! `tags`: repositories with many tags, listed page by page, and the catalog.

use anyhow::{Context as _, Result};
use http::{Method, StatusCode, header};
use serde::Deserialize;

use crate::{
    client::{Call, Client, Error, download},
    measure::Recorder,
    scenario::{
        Scenario, Stage, Task, Turn,
        image::{Images, Shape},
    },
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Tags {
    /// Tags in the repository
    #[arg(long = "tags", default_value_t = 1000)]
    count: u64,
    /// Tags in a page
    #[arg(long, default_value_t = 100)]
    page: u64,
    /// Ask for the first page only
    #[arg(long)]
    first_page: bool,
}

impl Tags {
    /// One that has these tags and no others.
    fn repository(&self, stage: &Stage) -> String {
        format!("{}/tags-{}", stage.repository, self.count)
    }
}

impl Scenario for Tags {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        let image = Images::new(&Shape { layers: 1, layer_size: 1024 }, stage.run).image(0);
        let (mut client, repository) = (stage.client(), self.repository(stage));
        image.put(&mut client, &repository, &tag(0)).await.context("cannot push the tags")?;
        for number in 1..self.count {
            let tag = tag(number);
            let put = client.push_manifest(&repository, &tag, image.manifest.clone());
            put.await.context("cannot push the tags")?;
        }
        Ok(())
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        let lists = Lists {
            repository: self.repository(stage),
            tags: self.count.max(1),
            page: self.page.max(1),
            first_only: self.first_page,
        };
        stage.play(recorder, lists).await;
        Ok(())
    }
}

/// Ordered as they were made.
fn tag(number: u64) -> String {
    format!("t{number:08}")
}

struct Lists {
    repository: String,
    tags: u64,
    page: u64,
    first_only: bool,
}

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl Task for Lists {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let (mut due, mut expected, mut last) = (turn.due, 0, None::<String>);
        while expected < self.tags {
            let page = self.list(client, last.as_deref());
            let Some(tags) = recorder.time_since(due, "tags page", 0, page).await else { return };
            // Whoever lists all must see each once, in order. Some registries know no pages and give all at once.
            let page = if tags.len() as u64 > self.page { self.tags } else { self.page };
            let wanted: Vec<String> = (expected..self.tags.min(expected + page)).map(tag).collect();
            if tags != wanted {
                let why = format!("the page behind {last:?} has {} of {} tags, or others", tags.len(), wanted.len());
                recorder.took("tags page", due.elapsed(), 0, Some(&Error::Answer { what: "a list of tags", why }));
                return;
            }
            if self.first_only {
                return;
            }
            expected += wanted.len() as u64;
            last = tags.last().cloned();
            due = std::time::Instant::now();
        }
        recorder.took("tags list", turn.due.elapsed(), 0, None);
    }
}

impl Lists {
    async fn list(&self, client: &mut Client, last: Option<&str>) -> Result<Vec<String>, Error> {
        let what = "a list of tags";
        let last = last.map(|last| format!("&last={last}")).unwrap_or_default();
        let path = format!("/v2/{}/tags/list?n={}{last}", self.repository, self.page);
        let call =
            Call::new(Method::GET, path).header(header::ACCEPT, "application/json").scope(&self.repository, "pull");
        let answer = client.send(&call).await?;
        if answer.status() != StatusCode::OK {
            return Err(Error::Status { what, status: answer.status() });
        }
        let page: Page = serde_json::from_slice(&download::small(answer).await?)
            .map_err(|error| Error::Answer { what, why: error.to_string() })?;
        Ok(page.tags.unwrap_or_default())
    }
}

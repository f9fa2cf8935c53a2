//! `manifest`: one small manifest, asked for as often as can be, or at a given rate.

use anyhow::{Context as _, Result};
use http::Method;

use crate::{
    client::{Call, Client, Error, download},
    measure::Recorder,
    scenario::{
        Scenario, Stage, Task, Turn,
        image::{Images, Shape},
    },
};

const TAG: &str = "latest";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Manifest {
    /// Ask for the digest that the tag has, not for the tag
    #[arg(long)]
    by_digest: bool,
    /// Ask with HEAD
    #[arg(long)]
    head: bool,
}

impl Scenario for Manifest {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        let image = Images::new(&Shape { layers: 1, layer_size: 1024 }, stage.run).image(0);
        image.put(&mut stage.client(), &stage.repository, TAG).await.context("cannot push the manifest")?;
        Ok(())
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        let mut reference = TAG.to_owned();
        if self.by_digest {
            let digest = stage.client().manifest_head(&stage.repository, TAG).await?;
            reference = digest.context("the tag is not there")?;
        }
        let repository = stage.repository.clone();
        if self.head {
            stage.play(recorder, Heads { repository, reference }).await;
        } else {
            let call = download::manifest(Method::GET, &repository, &reference);
            stage.play(recorder, Gets { call, digest: self.by_digest.then_some(reference) }).await;
        }
        Ok(())
    }
}

struct Gets {
    call: Call,
    /// That was asked for, if one was.
    digest: Option<String>,
}

impl Task for Gets {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let get = client.manifest_of(&self.call, self.digest.as_deref());
        recorder.time_since(turn.due, "manifest GET", 0, get).await;
    }
}

struct Heads {
    repository: String,
    reference: String,
}

impl Task for Heads {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let head = async {
            let missing = || Error::Answer { what: "HEAD of a manifest", why: "it is not there".to_owned() };
            client.manifest_head(&self.repository, &self.reference).await?.ok_or_else(missing)
        };
        recorder.time_since(turn.due, "manifest HEAD", 0, head).await;
    }
}

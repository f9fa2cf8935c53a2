//! `push`: new images, or blobs alone, by any flow.

use anyhow::Result;

use crate::{
    client::{Client, upload::Flow},
    content::Mould,
    measure::Recorder,
    quantity::size,
    scenario::{
        Scenario, Stage, Task, Turn,
        image::{Images, Shape},
    },
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Push {
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    flow: FlowArgs,
    /// Push blobs alone, one in each turn: neither configuration nor manifest, and nobody asks before
    #[arg(long)]
    blobs_only: bool,
    /// Repositories that are pushed to in turn
    #[arg(long, default_value_t = 1)]
    repositories: u64,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FlowArgs {
    /// How blobs go up: `put` (POST, PUT: containerd, current Docker), `patch` (POST, one PATCH of unknown length, PUT:
    /// older Docker), `post` (POST with digest), `chunks` (POST, PATCH for each chunk, PUT: regctl), or `mount`
    #[arg(long, default_value = "put", value_parser = ["put", "patch", "post", "chunks", "mount"])]
    flow: String,
    /// Bytes of a chunk
    #[arg(long, default_value = "16MiB", value_parser = size)]
    chunk_size: u64,
}

impl FlowArgs {
    /// `None`: content is mounted.
    pub(crate) fn flow(&self) -> Option<Flow> {
        match self.flow.as_str() {
            "patch" => Some(Flow::Patch),
            "post" => Some(Flow::Post),
            "chunks" => Some(Flow::Chunks(self.chunk_size)),
            "mount" => None,
            _ => Some(Flow::Put),
        }
    }
}

impl Scenario for Push {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        if self.flow.flow().is_none() {
            let blob = Mould::new(self.shape.layer_size, stage.run).blob(0);
            stage.client().push(&format!("{}/source", stage.repository), &blob, Flow::Put).await?;
        }
        Ok(())
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        let to = Repositories { base: stage.repository.clone(), count: self.repositories.max(1) };
        match self.flow.flow() {
            None => {
                let digest = Mould::new(self.shape.layer_size, stage.run).blob(0).digest;
                stage.play(recorder, Mounts { base: stage.repository.clone(), digest }).await;
            }
            Some(flow) if self.blobs_only => {
                stage.play(recorder, Blobs { mould: Mould::new(self.shape.layer_size, stage.run), flow, to }).await;
            }
            Some(flow) => stage.play(recorder, Whole { images: Images::new(&self.shape, stage.run), flow, to }).await,
        }
        Ok(())
    }
}

struct Repositories {
    base: String,
    count: u64,
}

impl Repositories {
    fn name(&self, number: u64) -> String {
        if self.count == 1 { self.base.clone() } else { format!("{}/{}", self.base, number % self.count) }
    }
}

struct Whole {
    images: Images,
    flow: Flow,
    to: Repositories,
}

impl Task for Whole {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let (image, repository) = (self.images.image(turn.number), self.to.name(turn.number));
        let tag = format!("t{}", turn.number);
        if image.push(client, recorder, &repository, &tag, self.flow).await.is_some() {
            recorder.took("image push", turn.due.elapsed(), 0, None);
        }
    }
}

struct Blobs {
    mould: Mould,
    flow: Flow,
    to: Repositories,
}

impl Task for Blobs {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let (blob, repository) = (self.mould.blob(turn.number), self.to.name(turn.number));
        let push = client.push(&repository, &blob, self.flow);
        recorder.time_since(turn.due, self.flow.operation(), blob.size, push).await;
    }
}

/// Each into a repository of its own.
struct Mounts {
    base: String,
    digest: String,
}

impl Task for Mounts {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let (to, from) = (format!("{}/m{}", self.base, turn.number), format!("{}/source", self.base));
        let mount = async {
            if client.mount(&to, &self.digest, &from).await? {
                return Ok(());
            }
            Err(crate::client::Error::Answer { what: "a mount", why: "an upload was begun".to_owned() })
        };
        recorder.time_since(turn.due, "blob mount", 0, mount).await;
    }
}

//! `expiry`: a push that takes longer than its token lives.
//!
//! The token comes from the registry's own token service, which decides how long it lives; a long PATCH is paced so that the
//! token ends before it does. What comes after it, the closing PUT and the manifest, is where pushes fail that were hours
//! under way.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    client::{Client, Content, Framing},
    content::Mould,
    measure::Recorder,
    quantity::{duration, float, size},
    scenario::{Scenario, Stage, Task, Turn, image::Image},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Expiry {
    /// How long the PATCH of each push takes; longer than a token lives
    #[arg(long, default_value = "90s", value_parser = duration)]
    push_time: Duration,
    /// Bytes of the layer
    #[arg(long, default_value = "64MiB", value_parser = size)]
    layer_size: u64,
    /// Send the first token to the end, as clients do that never ask again within an upload; else a refusal is answered with
    /// a fresh token
    #[arg(long)]
    keep_token: bool,
}

impl Scenario for Expiry {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        Ok(stage.client().warm_up().await?)
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        let layers = Mould::new(self.layer_size, stage.run);
        let configs = Mould::new(1536, stage.run ^ u64::MAX);
        stage
            .play(recorder, Pushes { repository: stage.repository.clone(), layers, configs, expiry: self.clone() })
            .await;
        Ok(())
    }
}

struct Pushes {
    repository: String,
    layers: Mould,
    configs: Mould,
    expiry: Expiry,
}

impl Task for Pushes {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        // Each push is a program of its own, with a token of its own.
        let mut client = client.fresh();
        if self.push(&mut client, recorder, turn.number).await.is_some() {
            recorder.took("push that outlives its token", turn.due.elapsed(), 0, None);
        }
    }
}

impl Pushes {
    async fn push(&self, client: &mut Client, recorder: &Recorder, number: u64) -> Option<()> {
        let image = Image::new(self.configs.blob(number), vec![self.layers.blob(number)]);
        let repository = format!("{}/{number}", self.repository);
        let mut upload = recorder.time("POST", 0, client.begin(&repository)).await?;
        if self.expiry.keep_token {
            client.keep_token();
        }
        let layer = &image.layers[0];
        let pace = Some(float(layer.size) / self.expiry.push_time.as_secs_f64().max(0.001));
        let content = Content::Blob { blob: layer.clone(), start: 0, end: layer.size, framing: Framing::Chunked, pace };
        recorder.time("PATCH", layer.size, client.patch(&mut upload, content, None)).await?;
        recorder.time("PUT", 0, client.put(&upload, layer, Content::Empty)).await?;
        let begun = Instant::now();
        let config = client.push(&repository, &image.config, crate::client::upload::Flow::Put).await;
        recorder.took("config push", begun.elapsed(), image.config.size, config.as_ref().err());
        config.ok()?;
        let put = client.push_manifest(&repository, "late", image.manifest.clone());
        recorder.time("manifest PUT", 0, put).await.map(drop)
    }
}

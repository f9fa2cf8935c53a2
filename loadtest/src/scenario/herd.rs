//! `herd`: an image that nobody has pulled yet, and all clients pull it in the same moment, as nodes of a cluster do after
//! a roll-out.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    measure::Recorder,
    scenario::{
        Scenario, Stage,
        image::{self, Images, Shape},
    },
};

const TAG: &str = "cold";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Herd {
    #[command(flatten)]
    shape: Shape,
}

impl Scenario for Herd {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        let image = Images::new(&self.shape, stage.run).image(0);
        image.put(&mut stage.client(), &stage.repository, TAG).await.context("cannot push what is to be pulled")?;
        Ok(())
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        let together = Arc::new(Barrier::new(usize::try_from(stage.load.clients)?));
        let mut nodes = JoinSet::new();
        for _ in 0..stage.load.clients {
            let (stage, recorder, together) = (stage.clone(), recorder.clone(), Arc::clone(&together));
            nodes.spawn(async move {
                // Nodes are not connected before: the handshakes belong to it.
                let mut client = stage.client();
                together.wait().await;
                let begin = Instant::now();
                if image::pull(&mut client, &recorder, &stage.repository, TAG, begin).await.is_some() {
                    recorder.took("image pull", begin.elapsed(), 0, None);
                }
            });
        }
        while nodes.join_next().await.is_some() {}
        Ok(())
    }
}

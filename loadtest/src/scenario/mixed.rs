//! `mixed`: pulls and pushes side by side, in a given proportion.

use anyhow::{Context as _, Result};

use crate::{
    client::Client,
    measure::Recorder,
    scenario::{
        Scenario, Stage, Task, Turn, dice,
        image::{self, Images, Shape},
        pull::{pick, tag},
        push::FlowArgs,
    },
};

/// Images that are there to be pulled.
const READY: u64 = 8;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Mixed {
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    flow: FlowArgs,
    /// Turns in a hundred that pull; the others push
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u8).range(0..=100))]
    pulls: u8,
}

impl Scenario for Mixed {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        let (images, mut client) = (Images::new(&self.shape, stage.run), stage.client());
        for number in 0..READY {
            let tag = tag(usize::try_from(number)?);
            images
                .image(number)
                .put(&mut client, &stage.repository, &tag)
                .await
                .context("cannot push what is to be pulled")?;
        }
        Ok(())
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        let flow = self.flow.flow().context("--flow mount makes no image")?;
        let images = Images::new(&self.shape, stage.run);
        let task = Turns { repository: stage.repository.clone(), images, flow, pulls: f64::from(self.pulls) / 100.0 };
        stage.play(recorder, task).await;
        Ok(())
    }
}

struct Turns {
    repository: String,
    images: Images,
    flow: crate::client::upload::Flow,
    pulls: f64,
}

impl Task for Turns {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        // Another sequence than the one that picks images.
        if dice(!turn.number) < self.pulls {
            let tag = tag(pick(turn.number, usize::try_from(READY).unwrap_or(1)));
            if image::pull(client, recorder, &self.repository, &tag, turn.due).await.is_some() {
                recorder.took("image pull", turn.due.elapsed(), 0, None);
            }
            return;
        }
        let number = READY + turn.number;
        let image = self.images.image(number);
        if image.push(client, recorder, &self.repository, &format!("t{number}"), self.flow).await.is_some() {
            recorder.took("image push", turn.due.elapsed(), 0, None);
        }
    }
}

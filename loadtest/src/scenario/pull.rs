//! `pull`: images are pulled again and again, whole, or blobs in ranges as containerd does.

use anyhow::{Context as _, Result};

use crate::{
    client::{Client, Error},
    measure::Recorder,
    quantity::size,
    scenario::{
        Scenario, Stage, Task, Turn, dice,
        image::{self, Image, Images, Shape},
    },
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Pull {
    #[command(flatten)]
    shape: Shape,
    /// Different images that are pulled
    #[arg(long, default_value_t = 4)]
    images: u64,
    /// Pull layers by open-ended ranges of so many bytes, each dropped when it has come, as containerd does
    #[arg(long, value_parser = size)]
    range: Option<u64>,
    /// Pull only this blob, by its digest, from the given repository: nothing is pushed before
    #[arg(long, requires = "repository_of_blob")]
    blob: Option<String>,
    /// Where that blob is
    #[arg(long)]
    repository_of_blob: Option<String>,
}

impl Pull {
    fn images(&self, stage: &Stage) -> Vec<Image> {
        let images = Images::new(&self.shape, stage.run);
        (0..self.images.max(1)).map(|number| images.image(number)).collect()
    }
}

impl Scenario for Pull {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        if self.blob.is_some() {
            return Ok(());
        }
        let mut client = stage.client();
        for (number, image) in self.images(stage).iter().enumerate() {
            image
                .put(&mut client, &stage.repository, &tag(number))
                .await
                .context("cannot push what is to be pulled")?;
        }
        Ok(())
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        if let (Some(digest), Some(repository)) = (&self.blob, &self.repository_of_blob) {
            stage.play(recorder, OneBlob { repository: repository.clone(), digest: digest.clone() }).await;
            return Ok(());
        }
        let images = self.images(stage);
        let repository = stage.repository.clone();
        match self.range {
            None => stage.play(recorder, Whole { repository, images: images.len() }).await,
            Some(range) => stage.play(recorder, Ranges { repository, images, range: range.max(1) }).await,
        }
        Ok(())
    }
}

pub(crate) fn tag(number: usize) -> String {
    format!("v{number}")
}

pub(crate) fn pick(number: u64, of: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "below `of`"
    )]
    let picked = (dice(number) * of as f64) as usize;
    picked
}

struct OneBlob {
    repository: String,
    digest: String,
}

impl Task for OneBlob {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let pulled = client.blob(&self.repository, &self.digest).await;
        let bytes = *pulled.as_ref().unwrap_or(&0);
        recorder.took("blob GET", turn.due.elapsed(), bytes, pulled.as_ref().err());
    }
}

struct Whole {
    repository: String,
    images: usize,
}

impl Task for Whole {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let tag = tag(pick(turn.number, self.images));
        let pulled = image::pull(client, recorder, &self.repository, &tag, turn.due).await;
        if pulled.is_some() {
            recorder.took("image pull", turn.due.elapsed(), 0, None);
        }
    }
}

struct Ranges {
    repository: String,
    images: Vec<Image>,
    range: u64,
}

impl Task for Ranges {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let image = &self.images[pick(turn.number, self.images.len())];
        for layer in &image.layers {
            let mut start = 0;
            while start < layer.size {
                let end = layer.size.min(start + self.range);
                let pull = async {
                    let bytes = client.blob_range(&self.repository, &layer.digest, start, end - start).await?;
                    let expected: Vec<u8> = layer.pieces(start, end).flatten().collect();
                    if bytes == expected { Ok(()) } else { Err(Error::Digest { what: "GET of a blob's range" }) }
                };
                if recorder.time("blob GET (range)", end - start, pull).await.is_none() {
                    return;
                }
                start = end;
            }
        }
    }
}

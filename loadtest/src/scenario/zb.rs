//! `zb`: the cases of zot's benchmark, under the names that it gives them, so that figures can be laid beside published ones.
//!
//! As there, one request is a whole push (blob, configuration, manifest) or a whole pull, and sizes are decimal. Its cases
//! of synchronisation between two registries are left out: they need a second registry.

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode};

use crate::{
    client::{Call, Client, Error, download, upload::Flow},
    content::Mould,
    measure::Recorder,
    scenario::{Scenario, Stage, Task, Turn, dice, image::Image, pull::tag},
};

const MB: u64 = 1_000_000;

/// Sizes of blobs, in MB.
const SIZES: [u64; 3] = [1, 10, 100];

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Zb {
    /// Run only the cases whose name contains this
    #[arg(long, default_value = "")]
    case: String,
}

struct Case {
    name: &'static str,
    act: Act,
    /// How often each of [`SIZES`] is taken, in a hundred.
    sizes: [u8; 3],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Catalog,
    Pull,
    Push(Flow),
    /// Three pulls for each push.
    Both,
}

const CASES: &[Case] = &[
    Case { name: "Get Catalog", act: Act::Catalog, sizes: [0; 3] },
    Case { name: "Push Monolith 1MB", act: Act::Push(Flow::Put), sizes: [100, 0, 0] },
    Case { name: "Push Monolith 10MB", act: Act::Push(Flow::Put), sizes: [0, 100, 0] },
    Case { name: "Push Monolith 100MB", act: Act::Push(Flow::Put), sizes: [0, 0, 100] },
    Case { name: "Push Chunk Streamed 1MB", act: Act::Push(Flow::Patch), sizes: [100, 0, 0] },
    Case { name: "Push Chunk Streamed 10MB", act: Act::Push(Flow::Patch), sizes: [0, 100, 0] },
    Case { name: "Push Chunk Streamed 100MB", act: Act::Push(Flow::Patch), sizes: [0, 0, 100] },
    Case { name: "Pull 1MB", act: Act::Pull, sizes: [100, 0, 0] },
    Case { name: "Pull 10MB", act: Act::Pull, sizes: [0, 100, 0] },
    Case { name: "Pull 100MB", act: Act::Pull, sizes: [0, 0, 100] },
    Case { name: "Pull Mixed 20% 1MB, 70% 10MB, 10% 100MB", act: Act::Pull, sizes: [20, 70, 10] },
    Case { name: "Push Monolith Mixed 20% 1MB, 70% 10MB, 10% 100MB", act: Act::Push(Flow::Put), sizes: [20, 70, 10] },
    Case { name: "Push Chunk Mixed 33% 1MB, 33% 10MB, 33% 100MB", act: Act::Push(Flow::Patch), sizes: [33, 33, 34] },
    Case { name: "Pull 75% and Push 25% Mixed 1MB", act: Act::Both, sizes: [100, 0, 0] },
    Case { name: "Pull 75% and Push 25% Mixed 10MB", act: Act::Both, sizes: [0, 100, 0] },
    Case { name: "Pull 75% and Push 25% Mixed 100MB", act: Act::Both, sizes: [0, 0, 100] },
];

impl Zb {
    fn cases(&self) -> impl Iterator<Item = (u64, &'static Case)> {
        (1..).zip(CASES).filter(|(_, case)| case.name.contains(&self.case))
    }
}

impl Scenario for Zb {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        ensure!(self.cases().next().is_some(), "no case of zb has {:?} in its name", self.case);
        let (shapes, mut client) = (Shapes::new(stage.run), stage.client());
        for size in 0..SIZES.len() {
            let image = shapes.image(size, 0);
            image.put(&mut client, &stage.repository, &tag(size)).await.context("cannot push what is to be pulled")?;
        }
        Ok(())
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        for (number, case) in self.cases() {
            let repository = stage.repository.clone();
            let shapes = Shapes::new(stage.run.wrapping_add(number));
            stage.play(recorder, Requests { case, repository, shapes }).await;
        }
        Ok(())
    }
}

/// Images of one layer, of each size.
struct Shapes {
    layers: [Mould; 3],
    configs: Mould,
}

impl Shapes {
    fn new(run: u64) -> Self {
        Self { layers: SIZES.map(|size| Mould::new(size * MB, run)), configs: Mould::new(500, run ^ u64::MAX) }
    }

    fn image(&self, size: usize, number: u64) -> Image {
        Image::new(self.configs.blob(number), vec![self.layers[size].blob(number)])
    }
}

struct Requests {
    case: &'static Case,
    repository: String,
    shapes: Shapes,
}

impl Task for Requests {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let size = self.case.size(dice(turn.number));
        let (bytes, number) = (SIZES[size] * MB, turn.number);
        let act = async {
            match self.case.act {
                Act::Catalog => catalog(client).await,
                Act::Push(flow) => self.push(client, size, number, flow).await,
                Act::Both if dice(!number) >= 0.75 => self.push(client, size, number, Flow::Put).await,
                Act::Pull | Act::Both => self.pull(client, size).await,
            }
        };
        recorder.time_since(turn.due, self.case.name, if self.case.act == Act::Catalog { 0 } else { bytes }, act).await;
    }
}

impl Case {
    fn size(&self, thrown: f64) -> usize {
        let mut left = thrown * 100.0;
        for (place, share) in self.sizes.iter().enumerate() {
            left -= f64::from(*share);
            if left < 0.0 {
                return place;
            }
        }
        0
    }
}

impl Requests {
    async fn push(&self, client: &mut Client, size: usize, number: u64, flow: Flow) -> Result<(), Error> {
        // Image 0 is the one that is pulled.
        let image = self.shapes.image(size, number + 1);
        for blob in image.blobs() {
            client.push(&self.repository, blob, flow).await?;
        }
        client.push_manifest(&self.repository, &format!("{size}-{number}"), image.manifest.clone()).await.map(drop)
    }

    async fn pull(&self, client: &mut Client, size: usize) -> Result<(), Error> {
        let manifest = client.manifest(&self.repository, &tag(size)).await?;
        let manifest: download::Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| Error::Answer { what: "a manifest", why: error.to_string() })?;
        for descriptor in manifest.config.iter().chain(&manifest.layers) {
            client.blob(&self.repository, &descriptor.digest).await?;
        }
        Ok(())
    }
}

async fn catalog(client: &mut Client) -> Result<(), Error> {
    let mut call = Call::new(Method::GET, "/v2/_catalog");
    call.scope = Some("registry:catalog:*".to_owned());
    let answer = client.send(&call).await?;
    match answer.status() {
        StatusCode::OK => download::discard(answer).await,
        status => Err(Error::Status { what: "GET of the catalog", status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_taken_in_their_proportion() {
        for case in CASES.iter().filter(|case| case.act != Act::Catalog) {
            assert_eq!(case.sizes.iter().map(|share| u32::from(*share)).sum::<u32>(), 100, "{}", case.name);
            let mut counts = [0_u32; 3];
            (0..10_000).for_each(|number| counts[case.size(dice(number))] += 1);
            for (count, share) in counts.iter().zip(case.sizes) {
                assert!(count.abs_diff(u32::from(share) * 100) < 200, "{}: {counts:?}", case.name);
            }
        }
    }
}

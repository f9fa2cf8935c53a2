//! Images of one shape: what is pushed, and how it is pulled again.

use std::time::Instant;

use bytes::Bytes;
use serde_json::json;

use crate::{
    client::{Client, Error, download::Manifest, upload::Flow},
    content::{Blob, Mould},
    measure::Recorder,
    quantity::size,
};

/// Bytes of an image's configuration.
const CONFIG: u64 = 1536;

/// What images look like.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Shape {
    /// Layers of each image
    #[arg(long, default_value_t = 3)]
    pub(crate) layers: u64,
    /// Bytes of each layer
    #[arg(long, default_value = "1MiB", value_parser = size)]
    pub(crate) layer_size: u64,
}

/// Makes images of a shape, none like another.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    layers: Mould,
    configs: Mould,
    per_image: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
    pub(crate) manifest: Bytes,
}

impl Images {
    pub(crate) fn new(shape: &Shape, run: u64) -> Self {
        Self {
            layers: Mould::new(shape.layer_size, run),
            configs: Mould::new(CONFIG, run ^ u64::MAX),
            per_image: shape.layers,
        }
    }

    pub(crate) fn image(&self, number: u64) -> Image {
        let layers = (0..self.per_image).map(|layer| self.layers.blob(number * self.per_image + layer)).collect();
        Image::new(self.configs.blob(number), layers)
    }
}

impl Image {
    pub(crate) fn new(config: Blob, layers: Vec<Blob>) -> Self {
        let descriptor = |media_type: &str, blob: &Blob| json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": layers.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer)).collect::<Vec<_>>(),
        });
        Self { config, layers, manifest: manifest.to_string().into() }
    }

    /// All of its content, the manifest apart.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config])
    }

    /// Pushes it, and takes nothing down.
    pub(crate) async fn put(&self, client: &mut Client, repository: &str, tag: &str) -> Result<String, Error> {
        for blob in self.blobs() {
            client.push(repository, blob, Flow::Put).await?;
        }
        client.push_manifest(repository, tag, self.manifest.clone()).await
    }

    /// Pushes it as clients do: what the registry has already is not sent.
    pub(crate) async fn push(
        &self,
        client: &mut Client,
        recorder: &Recorder,
        repository: &str,
        tag: &str,
        flow: Flow,
    ) -> Option<()> {
        for blob in self.blobs() {
            let looked = client.blob_head(repository, &blob.digest);
            if !recorder.time("blob HEAD", 0, looked).await? {
                recorder.time(flow.operation(), blob.size, client.push(repository, blob, flow)).await?;
            }
        }
        let put = client.push_manifest(repository, tag, self.manifest.clone());
        recorder.time("manifest PUT", self.manifest.len() as u64, put).await.map(drop)
    }
}

/// Pulls an image as clients do: the tag's digest, the manifest, then each blob. How much came.
pub(crate) async fn pull(
    client: &mut Client,
    recorder: &Recorder,
    repository: &str,
    tag: &str,
    due: Instant,
) -> Option<u64> {
    let looked = recorder.time_since(due, "manifest HEAD", 0, client.manifest_head(repository, tag)).await?;
    let missing = || Error::Answer { what: "a manifest", why: "it is not there, or its digest is not said".to_owned() };
    let digest = recorder.need("manifest HEAD", looked.ok_or_else(missing))?;
    let manifest = recorder.time("manifest GET", 0, client.manifest(repository, &digest)).await?;
    let parsed = serde_json::from_slice::<Manifest>(&manifest)
        .map_err(|error| Error::Answer { what: "a manifest", why: error.to_string() });
    let manifest = recorder.need("manifest GET", parsed)?;
    let mut bytes = 0;
    for descriptor in manifest.config.iter().chain(&manifest.layers) {
        bytes += recorder.time("blob GET", descriptor.size, client.blob(repository, &descriptor.digest)).await?;
    }
    Some(bytes)
}

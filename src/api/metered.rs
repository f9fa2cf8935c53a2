//! What one login may take: its requests, and the speed of its bodies both ways.
//!
//! Only the subject of a login is counted here; what an address may take is counted where its connections are known.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::time::sleep;

use crate::{
    admission::{Admission, Client},
    api::{Body, BodyError, RequestBody, StreamError, error::Error},
    auth::grant::Grant,
};

/// Pieces of an answer.
type Content = BoxStream<'static, Result<Bytes, StreamError>>;

/// Takes a request of whoever was granted this; `None` is nobody in particular.
pub(in crate::api) fn take(admission: &Arc<Admission>, grant: Option<&Grant>) -> Result<Option<Client>, Error> {
    let Some(subject) = grant.and_then(|grant| grant.identity().subject()) else { return Ok(None) };
    let client = admission.subject(subject);
    client.request()?;
    Ok(Some(client))
}

/// A request's body that comes no faster than its client may send.
pub(in crate::api) struct Metered<'a> {
    pub(in crate::api) body: &'a mut dyn RequestBody,
    pub(in crate::api) client: Option<Client>,
}

#[async_trait]
impl RequestBody for Metered<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        let chunk = self.body.chunk().await?;
        if let (Some(client), Some(chunk)) = (&self.client, &chunk) {
            pause(client.received(chunk.len())).await;
        }
        Ok(chunk)
    }

    async fn gone(&mut self) {
        self.body.gone().await;
    }
}

/// The same answer, which goes no faster than its client may take. What is in memory already goes at once.
pub(in crate::api) fn slowed(body: Body, client: &Client) -> Body {
    match body {
        Body::Stream { length, content } => Body::Stream { length, content: paced(content, client) },
        Body::Open(content) => Body::Open(paced(content, client)),
        body @ (Body::Empty | Body::Full(_)) => body,
    }
}

fn paced(content: Content, client: &Client) -> Content {
    let client = client.clone();
    let paced = content.then(move |chunk| {
        let time = chunk.as_ref().map_or(Duration::ZERO, |chunk| client.sent(chunk.len()));
        async move {
            pause(time).await;
            chunk
        }
    });
    paced.boxed()
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

//! Requests without a body, written down here because `object_store` has no words for them.

use bytes::Bytes;
use http::{Method, request::Builder};
use object_store::client::{HttpRequestBody, HttpResponse};

use crate::store::{
    Result,
    error::{Error, Operation},
    key::Key,
    s3::{
        S3,
        failure::{Failure, Trouble},
        transport::WHOLE_MAX,
        wire::beginning,
        xml,
    },
};

impl S3 {
    /// Sends a request; of an answer only that it is no error is looked at.
    pub(super) async fn send(&self, request: Builder, operation: Operation, key: &Key) -> Result<HttpResponse> {
        let failed = failing(&request, operation, key);
        let request = request.body(HttpRequestBody::from(Bytes::new()));
        let request = request.map_err(|error| failed(Trouble::Nonsense(error.to_string())))?;
        self.transport.send(request).await.map_err(|failure| failure.into_error(operation, key))
    }

    /// The answer in XML to a request.
    pub(super) async fn ask<T: xml::Answer>(&self, request: Builder, operation: Operation, key: &Key) -> Result<T> {
        let failed = failing(&request, operation, key);
        let answer = self.send(request, operation, key).await?;
        let body = beginning(answer.into_body(), WHOLE_MAX).await;
        let body = body.map_err(|error| failed(Trouble::Transport(error.to_string())))?;
        xml::read(&body).map_err(|error| failed(Trouble::Nonsense(error)))
    }
}

/// What went wrong with this request, as an error.
fn failing<'a>(request: &Builder, operation: Operation, key: &'a Key) -> impl Fn(Trouble) -> Error + use<'a> {
    let method = request.method_ref().cloned().unwrap_or(Method::GET);
    move |trouble| Failure { method: method.clone(), trouble }.into_error(operation, key)
}

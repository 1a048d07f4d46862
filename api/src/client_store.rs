//! The client's methods for [`crate::store`].

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::Method;

use crate::client::{Chunks, Client};
use crate::client_error::ClientError;
use crate::ollama::Progress;
use crate::store::{
    AdoptFound, AdoptRequest, ArchiveRequest, BlobsResponse, ExportRequest, ImportResponse,
    PathRequest, PathResponse,
};

/// The bytes of an answer, as they come.
pub struct Bundle {
    /// How many there will be, where the daemon says.
    pub n_bytes: Option<u64>,
    bytes: Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle")
            .field("n_bytes", &self.n_bytes)
            .finish_non_exhaustive()
    }
}

impl Bundle {
    /// The next bytes; `None` at the end of a whole answer.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        self.bytes.next().await
    }
}

impl Client {
    /// `POST /api/path`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn path(&self, model: &str) -> Result<PathResponse, ClientError> {
        let request = PathRequest {
            model: model.to_owned(),
        };
        let response = self.post("/api/path", &request).await?;
        self.decode(response).await
    }

    /// `GET /api/blobs`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn blobs(&self) -> Result<BlobsResponse, ClientError> {
        self.get("/api/blobs").await
    }

    /// `POST /api/export`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn export(&self, request: &ExportRequest) -> Result<Bundle, ClientError> {
        let response = self.post("/api/export", request).await?;
        let client = self.clone();
        Ok(Bundle {
            n_bytes: response.content_length(),
            bytes: Box::pin(
                response
                    .bytes_stream()
                    .map(move |bytes| bytes.map_err(|source| client.broken(source))),
            ),
        })
    }

    /// `POST /api/import`: sends a bundle, `n_bytes` long where that is known.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn import(
        &self,
        bundle: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        n_bytes: Option<u64>,
        as_name: Option<&str>,
    ) -> Result<ImportResponse, ClientError> {
        let mut request = self
            .request(Method::POST, "/api/import")
            .header(reqwest::header::CONTENT_TYPE, "application/x-tar");
        if let Some(name) = as_name {
            request = request.header("slm-as", name);
        }
        if let Some(n_bytes) = n_bytes {
            request = request.header(reqwest::header::CONTENT_LENGTH, n_bytes);
        }
        let response = self
            .send(request.body(reqwest::Body::wrap_stream(bundle)))
            .await?;
        self.decode(response).await
    }

    /// `POST /api/adopt/find`: what other programs have, nothing changed.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn find_foreign(&self, request: &AdoptRequest) -> Result<AdoptFound, ClientError> {
        let response = self.post("/api/adopt/find", request).await?;
        self.decode(response).await
    }

    /// `POST /api/adopt`.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn adopt(&self, request: &AdoptRequest) -> Result<Chunks<Progress>, ClientError> {
        self.stream("/api/adopt", request).await
    }

    /// `POST /api/archive`, or `POST /api/unarchive` to bring a model back.
    ///
    /// # Errors
    /// As [`ClientError`] says; also from the stream.
    pub async fn archive(&self, model: &str, back: bool) -> Result<Chunks<Progress>, ClientError> {
        let path = if back {
            "/api/unarchive"
        } else {
            "/api/archive"
        };
        let request = ArchiveRequest {
            model: model.to_owned(),
        };
        self.stream(path, &request).await
    }
}

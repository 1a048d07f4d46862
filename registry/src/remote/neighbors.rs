//! Neighbours: other daemons on the network that share their models. They are asked for blobs before the internet is, and
//! for manifests only when nobody else can be.
//!
//! A blob has a digest, so a neighbour that lies costs time and nothing else; one that is dead or slow is given up within
//! seconds, for the rest of the pull. Neighbours learn nothing of who asks.
use super::{
    Patience, PullEvent,
    client::{Origin, Remote},
    download,
    files::Job,
    plan::Cut,
};
use crate::{Descriptor, Digest, Error, reference::neighbor_address};
use futures_util::future::join_all;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// More neighbours are not asked.
const MAX_NEIGHBORS: usize = 16;
/// How long a neighbour may take to say what it has.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(2);

/// With neighbours that others can stand in for.
const IMPATIENT: Patience = Patience {
    stall: Duration::from_secs(3),
    first_pause: Duration::from_millis(200),
    max_failures: 2,
    slow_window: Duration::from_secs(4),
    min_rate: (256 << 10) as f64,
    max_refetches: 0,
    cut: Cut {
        part_bytes: 32 << 20,
        min_share_bytes: 1 << 20,
        min_share_time: Duration::from_millis(700),
    },
    max_connections: 8,
};

/// Parses a list of neighbours: `host[:port],…`.
///
/// # Errors
/// The part that is not understood.
pub fn parse_neighbors(text: &str) -> Result<Vec<String>, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| neighbor_address(part).ok_or_else(|| part.to_owned()))
        .collect()
}

/// Whether an error means that its host cannot be reached, not that it says no.
pub(super) fn is_offline(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable { .. }
            | Error::RetriesExhausted { .. }
            | Error::RemoteStatus {
                status: 500..=599,
                ..
            }
    )
}

/// The neighbours as one pull sees them.
pub(super) struct Neighborhood(Vec<Neighbor>);

struct Neighbor {
    remote: Arc<Remote>,
    /// It has failed; nothing more is asked of it.
    is_out: AtomicBool,
}

impl Neighbor {
    fn is_in(&self) -> bool {
        !self.is_out.load(Ordering::Relaxed)
    }
    fn give_up(&self) {
        self.is_out.store(true, Ordering::Relaxed);
    }
}

impl Neighborhood {
    /// Nobody.
    fn empty() -> Self {
        Self(Vec::new())
    }

    fn remotes(&self) -> Vec<Arc<Remote>> {
        self.0
            .iter()
            .map(|neighbor| Arc::clone(&neighbor.remote))
            .collect()
    }

    /// The manifest `tag`, or the one with the digest `pin`, from the first neighbour that has it, and who that is.
    pub(super) async fn manifest(
        &self,
        tag: &str,
        pin: Option<Digest>,
    ) -> Option<(Vec<u8>, String)> {
        let asked = self.0.iter().map(|neighbor| async move {
            // A manifest by its digest, or not at all.
            let wanted = pin.map_or_else(|| tag.to_owned(), |pin| pin.to_string());
            let answer = timeout(MAX_ANSWER_TIME, neighbor.remote.manifest(&wanted, pin)).await;
            match answer {
                Ok(Ok(json)) => Some((json, neighbor.remote.host())),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a neighbour has no such manifest");
                    None
                }
                Err(_) => {
                    neighbor.give_up();
                    None
                }
            }
        });
        join_all(asked).await.into_iter().flatten().next()
    }

    /// Those who say that they have `blob`.
    async fn holders(&self, blob: &Descriptor) -> Vec<&Neighbor> {
        let asked = self
            .0
            .iter()
            .filter(|neighbor| neighbor.is_in())
            .map(|neighbor| async move {
                match timeout(MAX_ANSWER_TIME, neighbor.remote.has(blob)).await {
                    Ok(Ok(has)) => has.then_some(neighbor),
                    Ok(Err(_)) | Err(_) => {
                        tracing::debug!(
                            host = neighbor.remote.host(),
                            "a neighbour does not answer"
                        );
                        neighbor.give_up();
                        None
                    }
                }
            });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

impl Job<'_> {
    /// The neighbours that there are at the moment.
    pub(super) async fn neighborhood(&self) -> Neighborhood {
        let network = &self.options.network;
        let mut addresses = network.neighbors.clone();
        if let Some(discover) = &network.discover {
            let discover = Arc::clone(discover);
            let found = tokio::task::spawn_blocking(move || discover()).await;
            // Nobody was found.
            addresses.extend(found.unwrap_or_default());
        }
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        addresses.truncate(MAX_NEIGHBORS);
        let mut neighbors = Vec::new();
        for address in addresses {
            match Remote::neighbor(&address, self.name, self.options, IMPATIENT).await {
                Ok(remote) => neighbors.push(Neighbor {
                    remote,
                    is_out: AtomicBool::new(false),
                }),
                // Somebody on the network announces it: that is no reason not to pull.
                Err(error) => tracing::debug!(%error, address, "passing over a neighbour"),
            }
        }
        Neighborhood(neighbors)
    }

    /// Brings `blob` into the store, from a neighbour if one has it, else from `registries`.
    pub(super) async fn bring(
        &self,
        hood: &Neighborhood,
        registries: &[Arc<Remote>],
        blob: &Descriptor,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let origins = registries
            .iter()
            .map(|registry| registry.blob(&blob.digest));
        let origins = origins.collect::<Result<Vec<_>, _>>()?;
        self.bring_from(hood, &origins, blob, progress).await
    }

    /// As [`Self::bring`], else from `origins`.
    pub(super) async fn bring_from(
        &self,
        hood: &Neighborhood,
        origins: &[Origin],
        blob: &Descriptor,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        if self.bring_near(hood, blob, progress).await? {
            return Ok(());
        }
        download::blob(
            self.shared(),
            origins,
            self.options,
            &self.patience,
            blob,
            progress,
        )
        .await
    }

    /// Whether a neighbour had `blob`, which is then in the store.
    async fn bring_near(
        &self,
        hood: &Neighborhood,
        blob: &Descriptor,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<bool, Error> {
        if hood.0.is_empty() || download::is_here(self.shared(), blob).await? {
            return Ok(false);
        }
        let holders = hood.holders(blob).await;
        // Together they are fastest; who of them lied only shows alone.
        let together = (holders.len() > 1).then(|| holders.clone());
        let alone = holders.into_iter().map(|holder| vec![holder]);
        for holders in together.into_iter().chain(alone) {
            let hosts: Vec<String> = holders.iter().map(|holder| holder.remote.host()).collect();
            let hosts = hosts.join(", ");
            let short = &blob.digest.hex()[..12];
            progress(PullEvent::Note(format!("{short} comes from {hosts}")));
            let origins = holders
                .iter()
                .map(|holder| holder.remote.blob(&blob.digest));
            let origins = origins.collect::<Result<Vec<_>, _>>()?;
            let shared = self.shared();
            let got = download::blob(shared, &origins, self.options, &IMPATIENT, blob, progress);
            match got.await {
                Ok(()) => return Ok(true),
                Err(error @ (Error::Write { .. } | Error::Read { .. })) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, hosts, "a neighbour failed");
                    progress(PullEvent::Note(format!("{hosts} failed: {error}")));
                    if let [alone] = holders.as_slice() {
                        alone.give_up();
                    }
                }
            }
        }
        Ok(false)
    }

    /// The model from the daemon at `address`.
    pub(super) async fn neighbor(
        &self,
        address: &str,
        pin: Option<Digest>,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let remote = Remote::neighbor(address, self.name, self.options, self.patience).await?;
        let json = remote.manifest(self.name.tag(), pin).await?;
        progress(PullEvent::Note(format!(
            "{} as {address} has it",
            self.name
        )));
        self.model(&[remote], &Neighborhood::empty(), json, progress)
            .await
    }

    /// The model from neighbours alone, after the registry failed with `error`; the one with the digest `pin`, if anybody
    /// said which it is.
    pub(super) async fn without_origin(
        &self,
        error: Error,
        pin: Option<Digest>,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let hood = self.neighborhood().await;
        let Some((json, host)) = hood.manifest(self.name.tag(), pin).await else {
            return Err(error);
        };
        let how = match pin {
            Some(_) => format!("comes from the neighbour {host}"),
            None => format!("is what the neighbour {host} says"),
        };
        progress(PullEvent::Note(format!(
            "{} cannot be reached; {} {how}",
            self.name.host(),
            self.name
        )));
        // Nobody can stand in for them now: they get all the time that a registry gets.
        self.model(&hood.remotes(), &Neighborhood::empty(), json, progress)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_hosts_with_or_without_port() {
        let parsed = parse_neighbors("a, 10.0.0.1:5 ,[::1]").unwrap();
        assert_eq!(parsed, ["a:11435", "10.0.0.1:5", "[::1]:11435"]);
        assert!(parse_neighbors("").unwrap().is_empty());
        for bad in ["http://a", "a:b", "a/b"] {
            assert_eq!(parse_neighbors(bad).unwrap_err(), bad);
        }
    }
}

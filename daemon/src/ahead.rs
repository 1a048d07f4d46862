//! Answers that are written without waiting for their reader.
//!
//! A client that reads slowly, or not at all, must not keep a model's place from others. So a task takes what a generation
//! says as it comes, to the end, and the bytes wait for the connection alone. Few generations say as much as may wait; of
//! those that do, the rest stands still until the client has read, as the engine sees fit. A client that goes away ends the
//! task, and with it the generation, at once.

use axum::body::Bytes;
use futures_util::{Stream, StreamExt, stream};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Instrument;

/// Bytes of one answer that may wait for its reader: tens of thousands of tokens.
pub(crate) const MAX_BYTES: usize = 8 << 20;

/// The same stream, which goes on by itself while nobody asks for its next item, until `MAX_BYTES` wait.
pub(crate) fn ahead(
    items: impl Stream<Item = Bytes> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(send(items, sender).instrument(tracing::Span::current()));
    stream::unfold(receiver, |mut receiver| async {
        let Waiting { bytes, room } = receiver.recv().await?;
        drop(room);
        Some((bytes, receiver))
    })
}

struct Waiting {
    bytes: Bytes,
    room: OwnedSemaphorePermit,
}

async fn send(items: impl Stream<Item = Bytes>, sender: mpsc::UnboundedSender<Waiting>) {
    let room = Arc::new(Semaphore::new(MAX_BYTES));
    let mut items = std::pin::pin!(items);
    let all = async {
        while let Some(bytes) = items.next().await {
            let size = u32::try_from(bytes.len().min(MAX_BYTES)).unwrap_or(u32::MAX);
            // never closed
            let Ok(room) = Arc::clone(&room).acquire_many_owned(size).await else {
                return;
            };
            if sender.send(Waiting { bytes, room }).is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = sender.closed() => {}
        () = all => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::eventually;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Items of 1 MiB, how many were made, and a mark that goes when nobody can ask for more.
    fn items(n: usize) -> (impl Stream<Item = Bytes> + Send, Arc<AtomicUsize>, Arc<()>) {
        let (made, mark) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let state = (Arc::clone(&made), Arc::clone(&mark));
        let items = stream::unfold(state, move |state| async move {
            let i = state.0.load(Ordering::Relaxed);
            (i < n).then(|| {
                state.0.store(i + 1, Ordering::Relaxed);
                (Bytes::from(vec![i as u8; 1 << 20]), state)
            })
        });
        (items, made, mark)
    }

    #[tokio::test]
    async fn a_stream_ends_without_its_reader_and_comes_whole_later() {
        let (items, made, mark) = items(8);
        let stream = ahead(items);
        eventually(|| Arc::strong_count(&mark) == 1).await;
        assert_eq!(made.load(Ordering::Relaxed), 8);
        let all: Vec<Bytes> = stream.collect().await;
        let first: Vec<u8> = all.iter().map(|bytes| bytes[0]).collect();
        assert_eq!(first, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[tokio::test]
    async fn no_more_waits_than_may_and_a_reader_who_leaves_ends_it() {
        let (items, made, mark) = items(1000);
        let mut stream = Box::pin(ahead(items));
        // one more was made, and waits for room
        eventually(|| made.load(Ordering::Relaxed) == 9).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(made.load(Ordering::Relaxed), 9);
        stream.next().await.unwrap();
        eventually(|| made.load(Ordering::Relaxed) == 10).await;
        drop(stream);
        eventually(|| Arc::strong_count(&mark) == 1).await;
    }
}

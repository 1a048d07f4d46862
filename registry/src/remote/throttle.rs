//! A bound on the bytes per second of all downloads that share it.
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// So much may be caught up on after a pause.
const MAX_CREDIT: Duration = Duration::from_millis(100);

/// Lets bytes pass at a rate. Each caller waits for those before it.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_s: u64,
    /// When the bytes that have passed so far will have been worth their time.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    /// At most `bytes_per_s`; at least one.
    pub fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s: bytes_per_s.max(1),
            paid: Mutex::new(None),
        }
    }

    /// Waits until `n_bytes` more may pass.
    pub(super) async fn pass(&self, n_bytes: u64) {
        let cost = Duration::from_secs_f64(n_bytes as f64 / self.bytes_per_s as f64);
        let until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let earliest = now.checked_sub(MAX_CREDIT).unwrap_or(now);
            let from = paid.unwrap_or(now).max(earliest);
            let until = from.checked_add(cost).unwrap_or(from);
            *paid = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_at_the_rate_whoever_asks() {
        let throttle = Throttle::new(10_000);
        let start = Instant::now();
        let pass = async |n_times: u64, n_bytes: u64| {
            for _ in 0..n_times {
                throttle.pass(n_bytes).await;
            }
        };
        tokio::join!(pass(10, 100), pass(4, 500));
        assert!(start.elapsed() >= Duration::from_millis(300));
        // A pause is no credit for a rush.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let start = Instant::now();
        throttle.pass(3000).await;
        assert!(start.elapsed() >= Duration::from_millis(199));
    }
}

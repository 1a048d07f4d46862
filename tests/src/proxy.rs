//! A TCP relay that is as slow and as unreliable as a test wants.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const UNLIMITED: u64 = u64::MAX;

/// Relays connections to one server and can slow down, count and cut what the server sends.
#[derive(Debug)]
pub struct FlakyProxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    /// Bytes per second over all connections.
    rate: AtomicU64,
    /// Bytes that may still pass before every connection is cut.
    allowance: AtomicU64,
    /// Bytes that the server sent through so far.
    delivered: AtomicU64,
    /// Bytes per second to the server, on each connection.
    upload_rate: AtomicU64,
    /// Bytes that clients sent through so far.
    uploaded: AtomicU64,
    /// When the next byte may pass.
    next: Mutex<Instant>,
    closed: AtomicBool,
}

impl FlakyProxy {
    /// A proxy before `upstream`, at first fast and reliable.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = Arc::new(State {
            upstream,
            rate: AtomicU64::new(UNLIMITED),
            allowance: AtomicU64::new(UNLIMITED),
            delivered: AtomicU64::new(0),
            upload_rate: AtomicU64::new(UNLIMITED),
            uploaded: AtomicU64::new(0),
            next: Mutex::new(Instant::now()),
            closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                relay(connection, &shared);
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Limits what the server sends, in bytes per second.
    pub fn limit_rate(&self, bytes_per_second: u64) {
        self.state.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Lets `n_bytes` more pass, then cuts every connection.
    pub fn cut_after(&self, n_bytes: u64) {
        self.state.allowance.store(n_bytes, Ordering::SeqCst);
    }

    /// Limits what each client sends, in bytes per second.
    pub fn limit_uploads(&self, bytes_per_second: u64) {
        self.state
            .upload_rate
            .store(bytes_per_second, Ordering::SeqCst);
    }

    /// Bytes that clients sent through since the last call.
    pub fn take_uploaded(&self) -> u64 {
        self.state.uploaded.swap(0, Ordering::SeqCst)
    }

    /// Is fast and reliable again.
    pub fn heal(&self) {
        self.limit_uploads(UNLIMITED);
        self.limit_rate(UNLIMITED);
        self.cut_after(UNLIMITED);
    }

    /// Bytes that the server sent through since the last call.
    pub fn take_delivered(&self) -> u64 {
        self.state.delivered.swap(0, Ordering::SeqCst)
    }

    /// Bytes that the server sent through.
    pub fn delivered(&self) -> u64 {
        self.state.delivered.load(Ordering::SeqCst)
    }
}

impl Drop for FlakyProxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)); // wakes the listener
    }
}

fn relay(client: TcpStream, state: &Arc<State>) {
    let Ok(server) = TcpStream::connect(state.upstream) else {
        return;
    };
    let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let for_uploads = Arc::clone(state);
    thread::spawn(move || {
        upload(&from_client, &to_server, &for_uploads);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let state = Arc::clone(state);
    thread::spawn(move || {
        deliver(&server, &client, &state);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

fn upload(mut client: &TcpStream, mut server: &TcpStream, state: &State) {
    let mut buffer = [0; 8192];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        if server.write_all(&buffer[..n]).is_err() {
            return;
        }
        state.uploaded.fetch_add(n as u64, Ordering::SeqCst);
        let rate = state.upload_rate.load(Ordering::SeqCst);
        if rate != UNLIMITED {
            thread::sleep(Duration::from_secs_f64(n as f64 / rate as f64));
        }
    }
}

fn deliver(mut server: &TcpStream, mut client: &TcpStream, state: &State) {
    let mut buffer = [0; 8192];
    while let Ok(n @ 1..) = server.read(&mut buffer) {
        wait_for_turn(n as u64, state);
        let before = state
            .allowance
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                Some(if left == UNLIMITED {
                    left
                } else {
                    left.saturating_sub(n as u64)
                })
            })
            .unwrap_or(0);
        let passing = n.min(usize::try_from(before).unwrap_or(n));
        if client.write_all(&buffer[..passing]).is_err() {
            return;
        }
        state.delivered.fetch_add(passing as u64, Ordering::SeqCst);
        if passing < n {
            return;
        }
    }
}

/// Sleeps until `n_bytes` may pass at the rate in force.
fn wait_for_turn(n_bytes: u64, state: &State) {
    let rate = state.rate.load(Ordering::SeqCst);
    if rate == UNLIMITED {
        return;
    }
    let turn = {
        let mut next = state.next.lock().expect("no holder panics");
        let turn = (*next).max(Instant::now());
        *next = turn + Duration::from_secs_f64(n_bytes as f64 / rate.max(1) as f64);
        turn
    };
    thread::sleep(turn.saturating_duration_since(Instant::now()));
}

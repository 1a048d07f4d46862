//! An HTTP proxy as companies have it: `CONNECT`, a password, and names that it alone can resolve.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

const MAX_HEAD_BYTES: usize = 16 << 10;

/// A running proxy.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    names: HashMap<String, SocketAddr>,
    /// What `Proxy-Authorization` has to be.
    authorization: Option<String>,
    asked: Mutex<Vec<String>>,
    closed: AtomicBool,
}

impl State {
    fn asked(&self) -> MutexGuard<'_, Vec<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectProxy {
    /// A proxy that knows each of `names` as a server, and lets nobody through without `authorization`, such as
    /// `Basic dTpw`, if there is one.
    pub fn start(names: &[(&str, SocketAddr)], authorization: Option<&str>) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let names = names.iter();
        let state = Arc::new(State {
            names: names.map(|(name, at)| ((*name).to_owned(), *at)).collect(),
            authorization: authorization.map(str::to_owned),
            asked: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(connection, &state));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first line of every request since the last call, `CONNECT host:port HTTP/1.1`.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.asked())
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)); // wakes the listener
    }
}

fn serve(mut client: TcpStream, state: &State) {
    let Ok(head) = read_head(&mut client) else {
        return;
    };
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    state.asked().push(first.to_owned());
    let authorization = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("proxy-authorization");
        is_it.then(|| value.trim())
    });
    let refuse = |mut client: TcpStream, head: &str| {
        let _ =
            client.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    };
    if state.authorization.as_deref() != authorization && state.authorization.is_some() {
        return refuse(
            client,
            "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"",
        );
    }
    let target = first
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let Some(server) = target.and_then(|target| {
        let (name, _port) = target.rsplit_once(':')?;
        TcpStream::connect(state.names.get(name)?).ok()
    }) else {
        return refuse(client, "502 Bad Gateway");
    };
    if client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_err() {
        return;
    }
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    thread::spawn(move || pass_on(&from, &to));
    pass_on(&server, &client);
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// The head of a request, without what may follow it.
fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD_BYTES {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

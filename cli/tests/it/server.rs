//! A server whose answers are set per route and that remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// The server; it ends with the test's runtime.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Each is used once, except for the last one of a route.
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
    requests: Mutex<Vec<(String, Bytes)>>,
    dropped: tokio::sync::Notify,
    released: tokio::sync::Notify,
}

#[derive(Clone)]
enum Answer {
    Lines(StatusCode, String),
    ForEver(String),
    /// A beginning, and the rest when the test says so.
    Held(String, String),
}

impl Server {
    /// A server that answers HEAD `/` and 404 to all else.
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let server = Self { address, shared };
        server.answer("HEAD /", StatusCode::OK, &[]);
        server
    }

    /// An address at which there is no server.
    pub(crate) fn nowhere(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            shared: Arc::default(),
        }
    }

    /// From now on the route (`METHOD /path`) answers with these lines.
    pub(crate) fn answer(&self, route: &str, status: StatusCode, lines: &[Value]) {
        self.set(route, Answer::Lines(status, text(lines)));
    }

    /// After the answers that were set, the route answers with these lines.
    pub(crate) fn then_answer(&self, route: &str, lines: &[Value]) {
        self.add(route, Answer::Lines(StatusCode::OK, text(lines)));
    }

    /// After the answers that were set, the route answers with a beginning, and with the rest after [`Server::release`].
    pub(crate) fn then_hold(&self, route: &str, beginning: &[Value], rest: &[Value]) {
        self.add(route, Answer::Held(text(beginning), text(rest)));
    }

    /// The rest of what is held is sent.
    pub(crate) fn release(&self) {
        self.shared.released.notify_one();
    }

    /// From now on the route answers with this line again and again.
    pub(crate) fn answer_for_ever(&self, route: &str, line: &Value) {
        self.set(route, Answer::ForEver(format!("{line}\n")));
    }

    /// The JSON bodies that the route was sent.
    pub(crate) fn seen(&self, route: &str) -> Vec<Value> {
        let requests = lock(&self.shared.requests);
        let of_route = requests.iter().filter(|(seen, _)| seen == route);
        of_route
            .map(|(_, body)| serde_json::from_slice(body).expect("JSON"))
            .collect()
    }

    /// How many requests had a route that starts so.
    pub(crate) fn n_requests_with(&self, start: &str) -> usize {
        let requests = lock(&self.shared.requests);
        requests
            .iter()
            .filter(|(seen, _)| seen.starts_with(start))
            .count()
    }

    /// Waits until a client has left an endless answer.
    pub(crate) async fn until_stream_dropped(&self) {
        self.shared.dropped.notified().await;
    }

    fn set(&self, route: &str, answer: Answer) {
        lock(&self.shared.answers).insert(route.to_owned(), VecDeque::from([answer]));
    }

    fn add(&self, route: &str, answer: Answer) {
        let mut answers = lock(&self.shared.answers);
        answers
            .entry(route.to_owned())
            .or_default()
            .push_back(answer);
    }
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

/// Tells when an endless answer is dropped.
struct OnDrop(Arc<Shared>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let route = format!("{} {}", request.method(), request.uri().path());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .expect("body");
    lock(&shared.requests).push((route.clone(), body));
    let answer = lock(&shared.answers).get_mut(&route).and_then(|answers| {
        if answers.len() > 1 {
            return answers.pop_front();
        }
        answers.front().cloned()
    });
    match answer {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Answer::Lines(status, text)) => (status, text).into_response(),
        Some(Answer::Held(beginning, rest)) => {
            let beginning = futures_util::stream::once(async { beginning });
            let rest = futures_util::stream::once(async move {
                shared.released.notified().await;
                rest
            });
            let text = futures_util::StreamExt::chain(beginning, rest);
            let chunks = futures_util::StreamExt::map(text, Ok::<_, std::io::Error>);
            Body::from_stream(chunks).into_response()
        }
        Some(Answer::ForEver(line)) => {
            let start = (OnDrop(shared), line);
            Body::from_stream(futures_util::stream::unfold(start, |(guard, line)| async {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let chunk = Ok::<_, std::io::Error>(line.clone());
                Some((chunk, (guard, line)))
            }))
            .into_response()
        }
    }
}

//! A plain HTTP/1.1 client that does what it is told, wrong things included.
//!
//! One connection per request, every header and byte under the test's control, bodies read at the test's pace, so that
//! streams can be watched chunk by chunk and cut off at will.

use serde_json::Value;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(90);
const MAX_HEADERS: usize = 100;

/// A server's address.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header; a `Host` given here replaces the usual one.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// Sets a JSON body.
    pub fn json(self, value: &Value) -> Self {
        self.body(value.to_string())
    }
}

impl Http {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Whether the server answers `GET /` with success.
    pub fn is_up(&self) -> bool {
        self.open(&Request::new("GET", "/"))
            .is_ok_and(|answer| answer.status == 200)
    }

    /// `GET path`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(&Request::new("GET", path))
    }

    /// `POST path` with a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&Request::new("POST", path).json(body))
    }

    /// Sends `request` and reads the whole answer.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Answer {
        match self.open(request).and_then(AnswerStream::read_all) {
            Ok(answer) => answer,
            Err(error) => panic!("{} {}: {error}", request.method, request.path),
        }
    }

    /// Sends `request` and reads the head of the answer; the body is read from the result.
    ///
    /// # Errors
    /// Whatever the connection says.
    pub fn open(&self, request: &Request) -> io::Result<AnswerStream> {
        let mut connection = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(READ_TIMEOUT))?;
        connection.set_write_timeout(Some(READ_TIMEOUT))?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
        let has = |name: &str| {
            let mut headers = request.headers.iter();
            headers.any(|(have, _)| have.eq_ignore_ascii_case(name))
        };
        if !has("host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        let needs_length = !request.body.is_empty() || request.method != "GET";
        if needs_length && !has("content-length") {
            head += &format!("Content-Length: {}\r\n", request.body.len());
        }
        for (name, value) in &request.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "Connection: close\r\n\r\n";
        connection.write_all(head.as_bytes())?;
        // a server may answer and hang up before it has read everything: its answer counts, not the broken pipe
        let sent = connection.write_all(&request.body);
        match AnswerStream::read_head(connection, request.method == "HEAD") {
            Err(error) => Err(sent.err().unwrap_or(error)),
            answer => answer,
        }
    }
}

/// An answer whose body is still arriving. Dropping it hangs up.
#[derive(Debug)]
pub struct AnswerStream {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Debug)]
struct Body {
    connection: BufReader<TcpStream>,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    /// Bytes left in the current chunk; `None` before its size line.
    Chunked {
        left: Option<u64>,
    },
    Length {
        left: u64,
    },
    UntilClose,
    Ended,
}

impl AnswerStream {
    fn read_head(connection: TcpStream, is_head: bool) -> io::Result<Self> {
        let mut connection = BufReader::new(connection);
        let status_line = read_line(&mut connection)?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no status line: {status_line:?}")))?;
        let mut headers = Vec::new();
        while headers.len() < MAX_HEADERS {
            let line = read_line(&mut connection)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let find = |wanted: &str| headers.iter().find(|(n, _)| n == wanted).map(|(_, v)| v);
        let framing = if is_head || status == 204 {
            Framing::Ended
        } else if find("transfer-encoding").is_some_and(|v| v == "chunked") {
            Framing::Chunked { left: None }
        } else if let Some(length) = find("content-length").and_then(|v| v.parse().ok()) {
            Framing::Length { left: length }
        } else {
            Framing::UntilClose
        };
        Ok(Self {
            status,
            headers,
            body: Body {
                connection,
                framing,
            },
        })
    }

    /// The next line of the body; `None` at its proper end.
    ///
    /// # Errors
    /// A connection that breaks off in the middle.
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.body.read(&mut byte)? == 1 {
            if byte[0] == b'\n' {
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            line.push(byte[0]);
        }
        Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()))
    }

    /// The next NDJSON object.
    ///
    /// # Errors
    /// A broken connection, or a line that is no JSON.
    pub fn next_json(&mut self) -> io::Result<Option<Value>> {
        let Some(line) = self.next_line()? else {
            return Ok(None);
        };
        serde_json::from_str(&line)
            .map(Some)
            .map_err(|e| io::Error::other(format!("{e}: {line:?}")))
    }

    /// Everything that is left.
    ///
    /// # Errors
    /// A connection that breaks off in the middle.
    pub fn read_all(mut self) -> io::Result<Answer> {
        let mut body = Vec::new();
        self.body.read_to_end(&mut body)?;
        Ok(Answer {
            status: self.status,
            headers: self.headers,
            body,
        })
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match &mut self.framing {
            Framing::Ended => return Ok(0),
            Framing::UntilClose => return self.connection.read(buffer),
            Framing::Length { left } => left,
            Framing::Chunked { left: Some(left) } => left,
            Framing::Chunked { left: None } => {
                let line = read_line(&mut self.connection)?;
                let size = u64::from_str_radix(line.trim(), 16)
                    .map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
                if size == 0 {
                    self.framing = Framing::Ended;
                    return Ok(0);
                }
                self.framing = Framing::Chunked { left: Some(size) };
                return self.read(buffer);
            }
        };
        if *left == 0 {
            self.framing = Framing::Ended;
            return Ok(0);
        }
        let wanted = buffer
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        let n = self.connection.read(&mut buffer[..wanted])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= n as u64;
        if let Framing::Chunked { left: Some(0) } = self.framing {
            read_line(&mut self.connection)?;
            self.framing = Framing::Chunked { left: None };
        }
        Ok(n)
    }
}

fn read_line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Bytes.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, or "".
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        headers
            .find(|(have, _)| have == name)
            .map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {:?}", self.status, self.text()))
    }

    /// The body as NDJSON.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}")))
            .collect()
    }

    /// This, if its status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The `error` field.
    #[track_caller]
    pub fn error(&self) -> String {
        let body = self.json();
        match body["error"].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("no error in {} {body}", self.status),
        }
    }
}

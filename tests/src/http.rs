//! A small HTTP/1.1 client over one socket: it sends just the bytes it is told to, so that a test can send wrong ones.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// How long a test waits for an answer before it fails.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// One header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON: a test's finding.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}), status {}: {}", self.status, self.text()))
    }

    /// Checks that this is a problem document of the given status and kind, and returns it.
    ///
    /// # Panics
    /// When it is not: a test's finding.
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.text()
        );
        let document = self.json();
        assert_eq!(
            document["type"],
            format!("urn:annals:problem:{slug}"),
            "{document}"
        );
        assert_eq!(document["status"], status, "{document}");
        for member in ["title", "detail", "fix"] {
            let text = document[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "`{member}` is missing: {document}");
        }
        document
    }

    /// Checks for success and returns the body.
    ///
    /// # Panics
    /// When it is not a 2xx with JSON: a test's finding.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "{}: {}",
            self.status,
            self.text()
        );
        self.json()
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// As the socket says.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// As the socket says, or when the answer is not HTTP.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: annals\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !body.is_empty() || method == "POST" || method == "PUT" {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        self.send(&bytes)?;
        self.response(method == "HEAD")
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// As the socket says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer with its body.
    ///
    /// # Errors
    /// As the socket says, or when the answer is not HTTP.
    pub fn response(&mut self, without_body: bool) -> io::Result<Response> {
        let (status, headers) = self.head()?;
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        if without_body || status == 304 {
            return Ok(response);
        }
        if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                response.body.extend_from_slice(&chunk);
            }
        } else {
            let length = response
                .header("content-length")
                .and_then(|length| length.parse().ok())
                .unwrap_or(0);
            response.body.resize(length, 0);
            self.stream.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    /// Reads status and headers only, for streams.
    ///
    /// # Errors
    /// As the socket says, or when the answer is not HTTP.
    pub fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not HTTP: `{status_line}`")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok((status, headers));
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads one chunk of a chunked body; none at its end.
    ///
    /// # Errors
    /// As the socket says, or when the chunk is not well-formed.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk)?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The socket itself, for slow readers.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

/// A body that goes on, as text.
#[derive(Debug)]
struct Text {
    connection: Connection,
    buffer: String,
}

impl Text {
    fn open(address: SocketAddr, path: &str, media_type: &str, headers: &[(&str, &str)]) -> io::Result<Self> {
        let mut connection = Connection::open(address)?;
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: annals\r\naccept: {media_type}\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        connection.send(format!("{request}\r\n").as_bytes())?;
        let (status, headers) = connection.head()?;
        assert_eq!(status, 200, "{headers:?}");
        Ok(Self {
            connection,
            buffer: String::new(),
        })
    }

    /// What comes next, with the mark that it ends with. None when the server ends the stream.
    fn until(&mut self, mark: &str) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.buffer.find(mark) {
                return Ok(Some(self.buffer.drain(..at + mark.len()).collect()));
            }
            match self.connection.chunk()? {
                Some(chunk) => self
                    .buffer
                    .push_str(&String::from_utf8(chunk).map_err(io::Error::other)?),
                None => return Ok(None),
            }
        }
    }
}

/// One event of a server-sent stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// `id:`
    pub id: String,
    /// `event:`; empty for a domain event.
    pub event: String,
    /// `data:`
    pub data: String,
}

/// A server-sent stream.
#[derive(Debug)]
pub struct SseStream(Text);

impl SseStream {
    /// Opens a stream.
    ///
    /// # Errors
    /// As the socket says.
    ///
    /// # Panics
    /// When the answer is not a stream: a test's finding.
    pub fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Self> {
        Text::open(address, path, "text/event-stream", headers).map(Self)
    }

    /// The next event; comments and `retry:` are passed over. None when the server ends the stream.
    ///
    /// # Errors
    /// As the socket says.
    pub fn next_event(&mut self) -> io::Result<Option<SseEvent>> {
        while let Some(block) = self.0.until("\n\n")? {
            let mut event = SseEvent::default();
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("id", value)) => event.id = value.to_owned(),
                    Some(("event", value)) => event.event = value.to_owned(),
                    Some(("data", value)) => event.data.push_str(value),
                    _ => {}
                }
            }
            if !event.data.is_empty() {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

/// A stream of lines.
#[derive(Debug)]
pub struct LineStream(Text);

impl LineStream {
    /// Opens a stream of JSON, one value a line.
    ///
    /// # Errors
    /// As the socket says.
    ///
    /// # Panics
    /// When the answer is not a stream: a test's finding.
    pub fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Self> {
        Text::open(address, path, "application/x-ndjson", headers).map(Self)
    }

    /// The next line, which may be empty. None when the server ends the stream.
    ///
    /// # Errors
    /// As the socket says.
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        let line = self.0.until("\n")?;
        Ok(line.map(|line| line.trim_end().to_owned()))
    }

    /// The next line that is not empty, as JSON. None when the server ends the stream.
    ///
    /// # Errors
    /// As the socket says.
    ///
    /// # Panics
    /// When it is not JSON: a test's finding.
    pub fn next_value(&mut self) -> io::Result<Option<Value>> {
        loop {
            match self.next_line()? {
                Some(line) if line.is_empty() => {}
                Some(line) => {
                    let value = serde_json::from_str(&line);
                    return Ok(Some(
                        value.unwrap_or_else(|error| panic!("not JSON ({error}): {line}")),
                    ));
                }
                None => return Ok(None),
            }
        }
    }
}

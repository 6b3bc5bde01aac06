//! A store on plain HTTP that is the development server, except where a test wants it to misbehave.

// Each test takes what it needs.
#![allow(dead_code)]

use std::sync::{Arc, Mutex};

use s3ota_devserver::DevServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::upstream::{self, Upstream};

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With the query.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The first header whose name begins so.
    pub fn header_like(&self, start: &str) -> Option<&str> {
        let mut names = self.headers.iter().map(|(name, _)| name.as_str());
        names.find(|name| name.to_ascii_lowercase().starts_with(start))
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub fn is(&self, method: &str, end: &str) -> bool {
        self.method == method && self.path().ends_with(end)
    }
}

/// What becomes of a request.
pub enum Reply {
    /// What the server answers.
    Pass,
    /// The same, with more lines in the head, each with its end.
    With(String),
    /// A status, and S3's error in XML.
    Refuse(u16, String),
}

/// S3's error.
pub fn refuse(status: u16, code: &str, message: &str, more: &str) -> Reply {
    let xml = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    );
    Reply::Refuse(status, xml)
}

/// A running store.
pub struct Store {
    /// Its endpoint.
    pub url: String,
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Store {
    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Starts a store in front of a server. `decide` is asked about each request.
pub async fn store(
    server: &DevServer,
    decide: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> Store {
    let upstream = Upstream::of(server);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let decide = Arc::new(decide);
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (decide, log, upstream) = (decide.clone(), log.clone(), upstream.clone());
            tokio::spawn(async move {
                // A client may hang up.
                let _ = one_request(client, upstream, &*decide, &log).await;
            });
        }
    });
    Store {
        url: format!("http://localhost:{port}"),
        port,
        asked,
    }
}

/// Serves one request of a connection, and ends it.
async fn one_request(
    mut client: TcpStream,
    upstream: Upstream,
    decide: &(dyn Fn(&Asked) -> Reply + Send + Sync),
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
        // The handshake of TLS.
        if head == [0x16] {
            let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            return client.write_all(answer).await;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    let mut words = line.split(' ');
    let headers = rest.lines().filter_map(|line| line.split_once(':'));
    let asked = Asked {
        method: words.next().unwrap().to_owned(),
        target: words.next().unwrap().to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
    };
    let body = upstream::body(&mut client, &head).await?;
    log.lock().unwrap().push(asked.clone());
    let more = match decide(&asked) {
        Reply::Pass => String::new(),
        Reply::With(more) => more,
        Reply::Refuse(status, xml) => {
            let length = xml.len();
            let body = if asked.method == "HEAD" { "" } else { &xml };
            let answer = format!(
                "HTTP/1.1 {status} Refused\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            return client.write_all(answer.as_bytes()).await;
        }
    };
    let answer = upstream.ask(&head, &body).await?;
    let end = answer.windows(2).position(|it| it == b"\r\n").unwrap_or(0) + 2;
    client.write_all(&answer[..end]).await?;
    client.write_all(more.as_bytes()).await?;
    client.write_all(&answer[end..]).await?;
    client.shutdown().await
}

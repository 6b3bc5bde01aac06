//! A plain HTTP proxy in front of the S3 server. A test tells it what to do with each request.

// Each test takes what it needs.
#![allow(dead_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use s3ota_devserver::DevServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::upstream::{self, Upstream};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub has_condition: bool,
}

impl Asked {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It does not reach the server; the line breaks.
    Lost,
    /// The server does it, and the line breaks before the answer.
    Unanswered,
    /// The server is one that has never heard of such a thing.
    NotImplemented,
    /// The server is one that says it was done.
    Taken,
}

type Decide = dyn Fn(Asked) -> Pin<Box<dyn Future<Output = Fate> + Send>> + Send + Sync;

/// Called when the server has done what stays unanswered, before the line breaks.
type Done = dyn Fn() + Send + Sync;

/// Starts a proxy; its URL.
pub async fn proxy<D, F>(
    server: &DevServer,
    decide: D,
    done: impl Fn() + Send + Sync + 'static,
) -> String
where
    D: Fn(Asked) -> F + Send + Sync + 'static,
    F: Future<Output = Fate> + Send + 'static,
{
    let decide: Arc<Decide> = Arc::new(move |asked| Box::pin(decide(asked)));
    let done: Arc<Done> = Arc::new(done);
    let upstream = Upstream::of(server);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (decide, done) = (decide.clone(), done.clone());
            let upstream = upstream.clone();
            tokio::spawn(async move {
                // A line that breaks is what the tests are about.
                let _ = one_request(client, upstream, &*decide, &*done).await;
            });
        }
    });
    url
}

/// Serves one request of a connection, and ends it.
async fn one_request(
    mut client: TcpStream,
    upstream: Upstream,
    decide: &Decide,
    done: &Done,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let method = words.next().unwrap().to_owned();
    let path = words.next().unwrap().split('?').next().unwrap().to_owned();
    let body = upstream::body(&mut client, &head).await?;

    let has = |name| upstream::header(&head, name).is_some();
    let has_condition = has("if-match") || has("if-none-match");
    let fate = decide(Asked {
        method,
        path,
        has_condition,
    })
    .await;
    match fate {
        Fate::Lost => return Ok(()),
        Fate::NotImplemented => {
            let xml = "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented</Message></Error>";
            let answer = format!(
                "HTTP/1.1 501 Not Implemented\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{xml}",
                xml.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Fate::Taken => {
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            return client.write_all(answer.as_bytes()).await;
        }
        Fate::Pass | Fate::Unanswered => {}
    }
    let answer = upstream.ask(&head, &body).await?;
    if fate == Fate::Unanswered {
        done();
        return Ok(());
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}

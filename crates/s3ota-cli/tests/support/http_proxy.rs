//! An HTTP proxy that takes CONNECT: it joins every name to one port of this machine, or refuses.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A running proxy.
pub struct HttpProxy {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Starts a proxy to a port. It answers `refusal`, if that is not empty, or to those who do not send `authorization`.
pub async fn http_proxy(
    target: u16,
    refusal: &'static str,
    authorization: Option<&'static str>,
) -> HttpProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = heads.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                // A client may hang up.
                let _ = join(client, target, refusal, authorization, &log).await;
            });
        }
    });
    HttpProxy { port, heads }
}

async fn join(
    mut client: TcpStream,
    target: u16,
    refusal: &str,
    authorization: Option<&str>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    log.lock().unwrap().push(head.clone());
    let is_known = authorization.is_none_or(|it| {
        let line = format!("proxy-authorization: {it}").to_ascii_lowercase();
        head.to_ascii_lowercase().contains(&line)
    });
    let refusal = match is_known {
        true => refusal,
        false => "407 Proxy Authentication Required",
    };
    if !refusal.is_empty() {
        let answer = format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n");
        return client.write_all(answer.as_bytes()).await;
    }
    assert!(head.starts_with("CONNECT "), "{head}");
    let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

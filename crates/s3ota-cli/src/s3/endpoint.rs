//! Which endpoints may receive credentials.
//!
//! Over plain http, anyone on the network path can read the releases and session tokens, and answer as they like. That is
//! acceptable only on this machine.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::CliError;

/// Refuses what is not the URL of a server, and plain http to another machine. What follows the server's name is not checked.
pub(super) fn check(url: &str) -> Result<(), CliError> {
    let wrong = |problem: &str, hint: &str| {
        let message = format!("the endpoint `{url}` {problem}");
        Err(CliError::new("s3.endpoint", message).hint(hint))
    };
    let is_wrong = |c: char| matches!(c, '?' | '#' | '\\') || c.is_whitespace() || c.is_control();
    if let Some(c) = url.chars().find(|c| is_wrong(*c)) {
        let part = match c {
            '?' => "has a query (`?`)".to_owned(),
            '#' => "has a fragment (`#`)".to_owned(),
            ' ' => "contains a space".to_owned(),
            c => format!("contains {c:?}"),
        };
        return wrong(
            &part,
            "write only the server and its path, like https://s3.example.com/storage",
        );
    }
    let (is_https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, rest) => (false, rest.unwrap_or_default()),
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    let Some(host) = host(authority) else {
        return wrong(
            "is not the URL of a server",
            "write it like https://s3.example.com or http://127.0.0.1:9000",
        );
    };
    if is_https || is_loopback(host) {
        return Ok(());
    }
    wrong(
        "is plain http: anyone on the network path can read and change the traffic",
        "use an https:// URL, with --ca if its certificate is from a CA of your own; plain http is allowed only to this machine: \
         http://localhost, http://127.0.0.1, http://[::1]",
    )
}

/// Whether a service takes the bucket's name before its own only: Alibaba OSS, Tencent COS, Volcengine TOS.
pub(super) fn wants_virtual(host: &str) -> bool {
    let domains = [
        ".aliyuncs.com",
        ".myqcloud.com",
        ".tencentcos.cn",
        ".volces.com",
    ];
    domains
        .iter()
        .any(|domain| host.to_ascii_lowercase().ends_with(domain))
}

/// Refuses an endpoint that the bucket's name cannot be put before: an address, or one that begins with it already.
pub(super) fn may_have_bucket_before(host: &str, bucket: &str) -> Result<(), CliError> {
    let wrong = |problem: String, hint: String| {
        let message = format!("the endpoint {host} {problem}");
        Err(CliError::new("s3.addressing", message).hint(hint))
    };
    if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() {
        return wrong(
            "is an address, and no bucket's name can be before it".to_owned(),
            "name the endpoint by its host's name, or use --addressing-style path".to_owned(),
        );
    }
    match host
        .strip_prefix(bucket)
        .and_then(|rest| rest.strip_prefix('.'))
    {
        Some(rest) => wrong(
            format!("begins with the bucket's name {bucket}, which is put before it anyway"),
            format!("leave the bucket out: https://{rest}"),
        ),
        None => Ok(()),
    }
}

/// The host of `host:port`, if it is unambiguous.
pub(super) fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, rest) = authority.split_at(end);
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if host.is_empty() || !host.chars().all(plain) {
                return None;
            }
            (host, rest)
        }
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok());
    is_port.then_some(host)
}

fn is_loopback(host: &str) -> bool {
    // Our resolver knows names under .localhost as this machine.
    let name = host.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|it| it.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_no_further_than_this_machine() {
        for url in [
            "https://s3.example.com",
            "https://minio:9000/",
            "https://192.0.2.1:9000",
            "https://[2001:db8::1]:9000/x/y",
            "http://localhost",
            "http://LOCALHOST:9000/bucket",
            "http://firmware.localhost:9000",
            "http://127.0.0.1:9000",
            "http://127.1.2.3",
            "http://[::1]:9000",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for url in [
            "http://s3.example.com",
            "http://minio:9000",
            "http://10.0.0.1",
            "http://0.0.0.0:9000",
            "http://127.1",
            "http://2130706433",
            "http://0x7f.0.0.1",
            "http://128.0.0.1",
            "http://[::]",
            "http://[::ffff:10.0.0.1]",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost@example.com",
            "http://localhost:80@example.com",
            "http://localhost\\@example.com",
            "http://localhost%2eexample.com",
            "http://[::1].example.com",
            "http://localhost:port",
            "http://",
            "https://",
            "https:///x",
            "https://a b",
            "https://s3.example.com/?x=1",
            "https://s3.example.com/a b",
            " https://s3.example.com",
            "https://s3.example.com/\n",
            "https://s3.example.com/x#y",
            "https://user@example.com",
            "https://example.com\\x",
            "HTTP://example.com",
            "ftp://localhost",
            "localhost:9000",
            "",
        ] {
            assert_eq!(check(url).unwrap_err().code, "s3.endpoint", "{url}");
        }
    }
}

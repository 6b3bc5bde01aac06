//! Lines of an Amazon S3 server access log
//! ([format](https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html)).
//!
//! Fields are separated by spaces; the time stands in brackets; request, referrer and User-Agent stand in quotes unless they are `-`. S3
//! writes what clients send as it is, so a quote may stand inside of quotes. The request ends with the quote that a status follows, the
//! referrer with the quote that the next field follows, and the User-Agent with the quote that no field of a User-Agent follows: the next
//! column, a version id, has no `=`. Columns that come after it do not matter, however many AWS adds.

use memchr::memchr;

use super::time;

/// What a line tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When, in seconds since 1970.
    pub time: u32,
    /// The object's key, as it is in the log: encoded as in a URL.
    pub key: &'a [u8],
    /// Who asked.
    pub agent: &'a [u8],
}

/// Reads a line. `None` if it is not one, or is not whole.
pub fn line(line: &[u8]) -> Option<Line<'_>> {
    let mut rest = Fields(line);
    let _owner = rest.word()?;
    let _bucket = rest.word()?;
    let time = time::apache(rest.brackets()?)?;
    for _ip_requester_request_operation in 0..4 {
        rest.word()?;
    }
    let key = rest.word()?;
    let _request = rest.quoted(|after| {
        let status = after.get(..4).unwrap_or(after);
        matches!(status, [a, b, c, b' '] if [a, b, c].iter().all(|it| it.is_ascii_digit()))
            || status.starts_with(b"- ")
    })?;
    for _status_error_sent_size_total_turnaround in 0..6 {
        rest.word()?;
    }
    let _referrer = rest.quoted(|after| after.starts_with(b"\"") || after.starts_with(b"- "))?;
    let agent = rest.quoted(|after| {
        let end = memchr(b' ', after).unwrap_or(after.len());
        let next = after.get(..end).unwrap_or_default();
        !next.is_empty() && memchr(b'=', next).is_none()
    })?;
    Some(Line { time, key, agent })
}

/// What of a line is not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A field without spaces.
    fn word(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b' ', self.0)?;
        self.take(end, end + 1)
    }

    fn brackets(&mut self) -> Option<&'a [u8]> {
        self.0 = self.0.strip_prefix(b"[")?;
        let end = memchr(b']', self.0)?;
        (self.0.get(end + 1) == Some(&b' ')).then_some(())?;
        self.take(end, end + 2)
    }

    /// A field in quotes, or `-`. It ends with the first quote whose next field is the one that has to follow.
    fn quoted(&mut self, follows: impl Fn(&[u8]) -> bool) -> Option<&'a [u8]> {
        if !self.0.starts_with(b"\"") {
            return self.word();
        }
        self.0 = self.0.get(1..)?;
        let mut from = 0;
        loop {
            let end = from + memchr(b'"', self.0.get(from..)?)?;
            if let Some(after) = self.0.get(end + 1..)?.strip_prefix(b" ")
                && follows(after)
            {
                return self.take(end, end + 2);
            }
            from = end + 1;
        }
    }

    fn take(&mut self, end: usize, next: usize) -> Option<&'a [u8]> {
        let field = self.0.get(..end)?;
        self.0 = self.0.get(next..)?;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as AWS documents it, with this User-Agent.
    pub fn written(agent: &str) -> String {
        format!(
            "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be my-bucket [20/Nov/2026:08:15:00 +0000] 192.0.2.3 - \
             3E57427F3EXAMPLE REST.GET.OBJECT lamp/stable.json \"GET /lamp/stable.json HTTP/1.1\" 200 - 512 512 7 6 \"-\" \
             {agent} - s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234= SigV4 TLS_AES_128_GCM_SHA256 - \
             my-bucket.s3.eu-central-1.amazonaws.com TLSv1.3 - -"
        )
    }

    fn agent(text: &str) -> Option<String> {
        let read = line(text.as_bytes())?;
        assert_eq!(read.time, 1_795_162_500);
        assert_eq!(read.key, b"lamp/stable.json");
        Some(String::from_utf8_lossy(read.agent).into_owned())
    }

    #[test]
    fn a_line_is_read() {
        let device = "s3ota/0.1.0 dev=a fw=1.0.0 state=valid";
        assert_eq!(
            agent(&written(&format!("\"{device}\""))).as_deref(),
            Some(device)
        );
        assert_eq!(agent(&written("-")).as_deref(), Some("-"));
        assert_eq!(agent(&written("\"-\"")).as_deref(), Some("-"));
    }

    #[test]
    fn quotes_may_stand_in_a_user_agent() {
        for hostile in [
            "s3ota/0.1.0 dev=a\"b fw=1",
            "s3ota/0.1.0 dev=a\" fw=1\" state=valid",
            "a \"quoted\" word=1",
            "\"",
            "<script>alert(\"x\")</script>,\u{1b}[2J",
        ] {
            assert_eq!(
                agent(&written(&format!("\"{hostile}\""))).as_deref(),
                Some(hostile)
            );
        }
    }

    #[test]
    fn quotes_may_stand_in_request_and_referrer() {
        let agent_is = "s3ota/0.1.0 dev=a";
        let text = written(&format!("\"{agent_is}\""))
            .replace(
                "GET /lamp/stable.json HTTP",
                "GET /lamp/stable.json?\"x\" 2 HTTP",
            )
            .replace("7 6 \"-\"", "7 6 \"http://a/\" b\"");
        assert_eq!(agent(&text).as_deref(), Some(agent_is));
    }

    #[test]
    fn columns_of_the_future_change_nothing() {
        let text = written("\"s3ota/0.1.0 dev=a\"") + " new=\"column\" - 7";
        assert_eq!(agent(&text).as_deref(), Some("s3ota/0.1.0 dev=a"));
    }

    #[test]
    fn a_torn_line_is_none() {
        let text = written("\"s3ota/0.1.0 dev=a fw=1.2.3 state=valid\"");
        let whole = text.find("valid\"").unwrap() + "valid\" -".len();
        for cut in 0..text.len() {
            let read = agent(&text[..cut]);
            assert_eq!(read.is_some(), cut >= whole, "{}", &text[..cut]);
        }
    }
}

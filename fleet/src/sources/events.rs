//! Logs with an object of JSON in each line: what `s3ota gateway --json` and `s3ota serve --json` print, and CloudFront's JSON.

use serde::Deserialize;

use super::{text, time};
use crate::sightings::Sightings;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    /// Ours: RFC 3339. CloudFront's: the time of day.
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    path: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    user_agent: Option<std::borrow::Cow<'a, str>>,
    /// CloudFront's.
    #[serde(borrow)]
    date: std::borrow::Cow<'a, str>,
    #[serde(borrow, rename = "cs-uri-stem", alias = "cs_uri_stem")]
    stem: std::borrow::Cow<'a, str>,
    #[serde(borrow, rename = "cs(User-Agent)", alias = "cs_user_agent")]
    agent: std::borrow::Cow<'a, str>,
}

/// Reads a line. One that is torn, or tells of something else, is ignored.
pub fn line(line: &[u8], into: &mut Sightings) {
    let Ok(event) = serde_json::from_slice::<Event<'_>>(line) else {
        return;
    };
    if event.date.is_empty() {
        if let (Some(time), Some(agent)) = (time::rfc3339(&event.time), &event.user_agent) {
            into.request(time, &event.path, agent);
        }
    } else if let Some(time) = time::date_and_clock(event.date.as_bytes(), event.time.as_bytes()) {
        into.request(time, &event.stem, &text::decoded(&event.agent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_servers_print_is_read() {
        let mut seen = Sightings::default();
        for text in [
            r#"{"event":"listening","endpoint_url":"https://127.0.0.1:9443"}"#,
            r#"{"event":"request","method":"GET","path":"/firmware/lamp/stable.json","status":200,"bytes":300,"time":"2026-11-20T08:15:00Z","user_agent":"s3ota/0.1.0 dev=a fw=1.0.0"}"#,
            r#"{"event":"request","method":"GET","path":"/beta.json","status":200,"time":"2026-11-20T08:16:00Z","user_agent":"s3ota/0.1.0 dev=b fw=\u0031"}"#,
            r#"{"event":"request","method":"GET","path":"/beta.json","status":200,"time":"2026-11-20T08:16:00Z","user_agent":null}"#,
            r#"{"event":"request","path":"/beta.json","time":"2026-11-20T08:16:00Z","user_agent":"s3ota/0.1.0 dev=c fw=1.0"#,
            r#"{"date":"2026-11-20","time":"08:17:00","cs-uri-stem":"/lamp/stable.json","sc-status":"200","cs(User-Agent)":"s3ota/0.1.0%20dev=d%20fw=1"}"#,
            "{}",
            "[1]",
        ] {
            line(text.as_bytes(), &mut seen);
        }
        let rows: Vec<_> = seen
            .rows()
            .into_iter()
            .map(|(device, facts, span)| {
                format!(
                    "{device} {} {} {}",
                    facts.fw,
                    facts.channel,
                    time::written(span.first)
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                "a 1.0.0 stable 2026-11-20T08:15:00Z",
                "b 1 beta 2026-11-20T08:16:00Z",
                "d 1 stable 2026-11-20T08:17:00Z",
            ]
        );
    }
}

//! The gateway as an AWS Lambda function behind a function URL.
//!
//! Requests and answers are JSON in version 2.0 of the
//! [payload format](https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads).

use std::sync::Arc;

use hyper::{Request, Response};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Map, Value, json};

use super::answer::Gateway;
use crate::error::CliError;

/// Whether Lambda started this process: then the environment has the address of its runtime API.
pub fn is_there() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// Answers the requests that Lambda passes on.
pub async fn run(gateway: Gateway) -> Result<(), CliError> {
    let gateway = Arc::new(gateway);
    let handler = service_fn(|event: LambdaEvent<Value>| {
        let gateway = Arc::clone(&gateway);
        async move {
            let request = request(&event.payload)?;
            Ok::<_, Error>(answer(gateway.answer(&request).await))
        }
    });
    lambda_runtime::run(handler)
        .await
        .map_err(|error| CliError::new("gateway.lambda", error.to_string()))
}

fn request(event: &Value) -> Result<Request<()>, Error> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let path = text(&event["rawPath"])
        .ok_or("the event has no rawPath: the function must be called by its function URL")?;
    let uri = match text(&event["rawQueryString"]) {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path,
    };
    let method = text(&event["requestContext"]["http"]["method"]).unwrap_or_else(|| "GET".into());
    let mut request = Request::builder().method(method.as_str()).uri(uri);
    for (name, value) in event["headers"].as_object().into_iter().flatten() {
        if let Some(value) = value.as_str() {
            request = request.header(name, value);
        }
    }
    Ok(request.body(())?)
}

fn answer(answer: Response<String>) -> Value {
    let (head, body) = answer.into_parts();
    let headers: Map<String, Value> = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), json!(value.to_str().ok()?))))
        .collect();
    json!({ "statusCode": head.status.as_u16(), "headers": headers, "body": body, "isBase64Encoded": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_function_url_is_a_request() {
        let event = json!({
            "version": "2.0", "rawPath": "/stable.json", "rawQueryString": "token=0123456789abcdef",
            "headers": { "user-agent": "s3ota/0.1.0", "if-none-match": "\"abc\"" },
            "requestContext": { "http": { "method": "HEAD", "path": "/stable.json" } },
        });
        let request = request(&event).unwrap();
        assert_eq!(request.method(), "HEAD");
        assert_eq!(request.uri(), "/stable.json?token=0123456789abcdef");
        assert_eq!(request.headers()["if-none-match"], "\"abc\"");
    }

    #[test]
    fn another_event_is_an_error_and_not_a_panic() {
        for event in [json!({}), json!(null), json!({ "rawPath": "not a path" })] {
            assert!(request(&event).is_err(), "{event}");
        }
    }
}

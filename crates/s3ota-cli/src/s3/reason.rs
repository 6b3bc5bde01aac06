//! Why S3 refuses a request without credentials, by its own code and message.

/// What S3 answers instead of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// S3's code.
    pub code: String,
    /// Its message for people.
    message: String,
    /// The storage class, where that is the reason.
    class: Option<String>,
}

impl Reason {
    /// Reads the body of a refusal; `None` if it is not S3's.
    pub fn of(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let error = text.split_once("<Error")?.1;
        Some(Self {
            code: element(error, "Code")?,
            message: element(error, "Message").unwrap_or_default(),
            class: element(error, "StorageClass"),
        })
    }

    /// What stops devices, as a sentence about `what`, and what to do; `None` if the status says as much.
    pub fn of_devices(&self, what: &str) -> Option<(&'static str, String, &'static str)> {
        match self.code.as_str() {
            "InvalidObjectState" => {
                let class = self.class.as_deref().unwrap_or("of an archive");
                Some((
                    "s3.archived",
                    format!(
                        "the {what} is archived: it has the storage class {class}, and nobody can read it"
                    ),
                    "publish the same firmware again, which uploads the image anew, and exclude the prefix from the lifecycle rule that \
                     archives it: `s3ota bucket init` names the rule",
                ))
            }
            // https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
            "InvalidArgument" if self.message.contains("Signature Version 4") => Some((
                "s3.kms",
                format!(
                    "the {what} is encrypted with KMS, and S3 gives it to nobody without a signature: {}",
                    self.message
                ),
                "publish with --sse AES256 to encrypt with S3's own keys; or keep KMS, and give devices pre-signed URLs (--presign)",
            )),
            code if code.starts_with("KMS.") => Some((
                "s3.kms",
                format!(
                    "the {what} is encrypted with a KMS key that cannot be used: {}",
                    self.said()
                ),
                "enable the key again, or publish with another one (--sse)",
            )),
            "SlowDown" | "ServiceUnavailable" => Some((
                "http.status",
                format!("the server asks for fewer requests: {}", self.said()),
                "wait and check again; devices do so, too, and ask less often with a longer interval",
            )),
            _ => None,
        }
    }

    /// Code and message.
    pub fn said(&self) -> String {
        match self.message.as_str() {
            "" => self.code.clone(),
            message => format!("{}: {message}", self.code),
        }
    }
}

/// The text of the first element of a name.
fn element(xml: &str, name: &str) -> Option<String> {
    let rest = xml.split_once(&format!("<{name}>"))?.1;
    let text = rest.split_once("</")?.0.trim();
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    let text = plain.iter().fold(text.to_owned(), |text, (entity, plain)| {
        text.replace(entity, plain)
    });
    // It ends up on a terminal.
    Some(text.chars().filter(|c| !c.is_control()).take(500).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3s_reason_is_read_from_its_answer() {
        let xml = b"<?xml version=\"1.0\"?>\n<Error><Code>InvalidObjectState</Code><Message>Not &quot;now&quot;</Message>\
            <StorageClass>DEEP_ARCHIVE</StorageClass></Error>";
        let reason = Reason::of(xml).unwrap();
        assert_eq!(reason.said(), "InvalidObjectState: Not \"now\"");
        let (code, sentence, _) = reason.of_devices("image").unwrap();
        assert_eq!(code, "s3.archived");
        assert!(sentence.contains("DEEP_ARCHIVE"), "{sentence}");
        assert_eq!(Reason::of(b"<html>Forbidden</html>"), None);
        let denied = Reason::of(b"<Error><Code>AccessDenied</Code></Error>").unwrap();
        assert_eq!(denied.of_devices("image"), None);
        assert_eq!(denied.said(), "AccessDenied");
    }
}

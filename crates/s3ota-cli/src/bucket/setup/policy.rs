//! Bucket policies: add or remove one statement, and keep all others.
//!
//! Language: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.

use serde_json::{Value, json};

use crate::error::CliError;

/// The prefix of our statements' names.
const SID: &str = "s3ota";

/// The principal that writes S3's access logs.
const LOGGING: &str = "logging.s3.amazonaws.com";

/// A policy that statements can be added to.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy(Value);

impl Policy {
    /// A policy without statements.
    pub fn empty() -> Self {
        Self(json!({ "Version": "2012-10-17", "Statement": [] }))
    }

    /// An existing policy.
    pub fn parse(text: &str) -> Result<Self, CliError> {
        let unknown = || {
            CliError::new("s3.policy", "the bucket's policy cannot be parsed")
                .hint("view it with `aws s3api get-bucket-policy`, and add the statement by hand")
        };
        let mut policy: Value = serde_json::from_str(text).map_err(|_| unknown())?;
        let statements = policy.get_mut("Statement").ok_or_else(unknown)?;
        // A single statement needs no list around it.
        if statements.is_object() {
            *statements = Value::Array(vec![statements.take()]);
        }
        statements
            .is_array()
            .then_some(Self(policy))
            .ok_or_else(unknown)
    }

    fn statements(&self) -> &[Value] {
        self.0["Statement"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The names of the statements that let anyone read all objects of this ARN.
    pub fn opens(&self, objects: &str) -> Vec<&str> {
        let opening = self
            .statements()
            .iter()
            .filter(|statement| opens(statement, objects));
        opening
            .map(|statement| statement["Sid"].as_str().unwrap_or("(without a Sid)"))
            .collect()
    }

    /// The policy with another statement.
    pub fn with(&self, mut statement: Value, name: &str) -> Self {
        let mut policy = self.clone();
        let taken = |sid: &str| {
            self.statements()
                .iter()
                .any(|statement| statement["Sid"] == sid)
        };
        let letters = name.chars().filter(char::is_ascii_alphanumeric);
        let base: String = SID.chars().chain(letters).collect();
        let numbered = (2..).map(|number| format!("{base}{number}"));
        let sid = std::iter::once(base.clone())
            .chain(numbered)
            .find(|sid| !taken(sid));
        statement["Sid"] = json!(sid);
        if let Some(statements) = policy.0["Statement"].as_array_mut() {
            statements.push(statement);
        }
        policy
    }

    /// Whether it lets S3 write the access log of the bucket `source`, which belongs to this account, to these objects.
    pub fn takes_logs(&self, objects: &str, source: &str, account: Option<&str>) -> bool {
        let conditions = [None, account].map(|account| log_condition(source, account));
        self.statements().iter().any(|statement| {
            let condition = statement.get("Condition");
            statement["Effect"] == "Allow"
                && one_of(&statement["Principal"]["Service"], |name| name == LOGGING)
                && one_of(&statement["Action"], |action| action == "s3:PutObject")
                && covers(statement, objects)
                && condition.is_none_or(|condition| conditions.contains(condition))
        })
    }

    /// The policy without our own statements that open these objects; `None` if nothing is left.
    pub fn without_ours(&self, objects: &str) -> Option<Self> {
        let mut policy = self.clone();
        let statements = policy.0["Statement"].as_array_mut()?;
        statements.retain(|statement| !(is_ours(statement) && opens(statement, objects)));
        (!statements.is_empty()).then_some(policy)
    }

    /// The policy as S3 takes it.
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }
}

/// The statement that lets anyone read the objects of this ARN.
pub fn public_read(objects: &str) -> Value {
    json!({ "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": objects })
}

/// The statement that lets S3 write its access log
/// ([Amazon S3 User Guide](https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html)).
pub fn log_delivery(objects: &str, source: &str, account: Option<&str>) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": { "Service": LOGGING },
        "Action": "s3:PutObject",
        "Resource": objects,
        "Condition": log_condition(source, account),
    })
}

/// For this bucket only, and only as long as it belongs to this account: the name of a deleted bucket is anyone's.
fn log_condition(source: &str, account: Option<&str>) -> Value {
    let mut condition = json!({ "ArnLike": { "aws:SourceArn": source } });
    if let Some(account) = account {
        condition["StringEquals"] = json!({ "aws:SourceAccount": account });
    }
    condition
}

/// The policy of whoever reads a log and does nothing else: a user's or a role's.
pub fn log_reader(bucket: &str, objects: &str, prefix: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": bucket,
                "Condition": { "StringLike": { "s3:prefix": format!("{prefix}*") } },
            },
            { "Effect": "Allow", "Action": "s3:GetObject", "Resource": objects },
        ],
    })
}

fn is_ours(statement: &Value) -> bool {
    statement["Sid"]
        .as_str()
        .is_some_and(|sid| sid.starts_with(SID))
}

fn opens(statement: &Value, objects: &str) -> bool {
    let principal = &statement["Principal"];
    let anyone =
        one_of(principal, |name| name == "*") || one_of(&principal["AWS"], |name| name == "*");
    let reads = one_of(&statement["Action"], |action| {
        ["*", "s3:*", "s3:getobject", "s3:get*"].contains(&&*action.to_ascii_lowercase())
    });
    statement["Effect"] == "Allow"
        && anyone
        && reads
        && covers(statement, objects)
        && statement.get("Condition").is_none()
}

/// Whether a statement covers all these objects. A pattern that ends in a star covers everything with the same beginning.
fn covers(statement: &Value, objects: &str) -> bool {
    one_of(&statement["Resource"], |resource| {
        resource == objects
            || resource
                .strip_suffix('*')
                .is_some_and(|start| !start.contains(['*', '?']) && objects.starts_with(start))
    })
}

/// Whether a text, or one of a list of texts, matches.
fn one_of(value: &Value, is: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is(text),
        Value::Array(list) => list.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAMP: &str = "arn:aws:s3:::firmware/lamp/*";

    #[test]
    fn a_statement_is_added_to_those_of_others_and_removed_again() {
        let theirs = r#"{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"s3otalamp","Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::firmware/*"}}"#;
        let theirs = Policy::parse(theirs).unwrap();
        assert!(theirs.opens(LAMP).is_empty());
        let both = theirs.with(public_read(LAMP), "lamp");
        assert_eq!(both.opens(LAMP), ["s3otalamp2"]);
        assert_eq!(both.statements().len(), 2);
        assert_eq!(both.0["Id"], "x");
        assert_eq!(both.without_ours(LAMP), Some(theirs));
        let ours = Policy::empty().with(public_read(LAMP), "lamp");
        assert_eq!(ours.without_ours(LAMP), None);
    }

    #[test]
    fn a_statement_that_opens_a_prefix_is_recognised_in_all_its_spellings() {
        for (opens, statement) in [
            (
                true,
                json!({"Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::firmware/*"}),
            ),
            (
                true,
                json!({"Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::firmware/lamp/*"]}),
            ),
            (
                false,
                json!({"Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::firmware/lamp/images/*"}),
            ),
            (
                false,
                json!({"Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "s3:GetObject", "Resource": LAMP}),
            ),
            (
                false,
                json!({"Principal": "*", "Action": "s3:PutObject", "Resource": LAMP}),
            ),
            (
                false,
                json!({"Principal": "*", "Action": "s3:GetObject", "Resource": LAMP, "Condition": {"Bool": {}}}),
            ),
        ] {
            let mut statement = statement;
            statement["Effect"] = json!("Allow");
            let policy = Policy(json!({ "Statement": [statement] }));
            assert_eq!(!policy.opens(LAMP).is_empty(), opens, "{policy:?}");
        }
    }

    #[test]
    fn a_policy_that_takes_the_log_of_this_bucket_is_recognised() {
        let (objects, source) = ("arn:aws:s3:::logs/firmware/*", "arn:aws:s3:::firmware");
        let account = Some("111122223333");
        let takes = |statement: Value| {
            let policy = Policy::empty().with(statement, "logs");
            policy.takes_logs(objects, source, account)
        };
        assert!(!Policy::empty().takes_logs(objects, source, account));
        assert!(takes(log_delivery(objects, source, account)));
        assert!(takes(log_delivery(objects, source, None)));
        let elsewhere = Some("444455556666");
        assert!(!takes(log_delivery(objects, source, elsewhere)));
        assert!(takes(json!({
            "Effect": "Allow", "Principal": { "Service": [LOGGING] }, "Action": ["s3:PutObject"],
            "Resource": "arn:aws:s3:::logs/*",
        })));
        let other = "arn:aws:s3:::logs/other/*";
        assert!(!takes(log_delivery(other, source, account)));
        assert!(!takes(log_delivery(objects, "arn:aws:s3:::other", account)));
        assert!(!takes(public_read(objects)));
    }

    #[test]
    fn a_document_that_is_not_a_policy_is_refused_with_a_hint() {
        for text in ["", "[]", "{}", r#"{"Statement":"x"}"#] {
            assert!(Policy::parse(text).unwrap_err().hint.is_some(), "{text}");
        }
    }
}

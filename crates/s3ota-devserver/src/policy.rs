//! Bucket policies: the part of the policy language that allows or denies public access to objects.
//!
//! What is not supported is refused when the policy is put: to ignore a condition would allow more than its author meant.
//! Language: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A bucket's policy, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

/// The settings by which S3 blocks public policies and ACLs, on by default for new buckets there, and off here.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct PublicAccessBlock {
    pub(crate) block_public_acls: bool,
    pub(crate) ignore_public_acls: bool,
    /// No public policy can be put.
    pub(crate) block_public_policy: bool,
    /// An existing public policy allows nothing.
    pub(crate) restrict_public_buckets: bool,
}

/// A policy's verdict on a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Allow,
    /// Overrides every `Allow`.
    Deny,
    Silent,
}

/// Why a policy cannot be put.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum PolicyError {
    /// S3 refuses it too.
    Malformed(String),
    /// S3 accepts it, but this server does not support it.
    Unsupported(&'static str),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyError::Malformed(reason) => write!(f, "{reason}"),
            PolicyError::Unsupported(element) => {
                write!(
                    f,
                    "the development server does not support {element} in a policy"
                )
            }
        }
    }
}

impl Policy {
    /// Parses the policy of `bucket`.
    pub(crate) fn parse(json: &str, bucket: &str) -> Result<Policy, PolicyError> {
        let document: Document = serde_json::from_str(json)
            .map_err(|error| PolicyError::Malformed(error.to_string()))?;
        if let Some(version) = document
            .version
            .filter(|version| !["2012-10-17", "2008-10-17"].contains(&&**version))
        {
            return Err(PolicyError::Malformed(format!(
                "The policy must contain a valid version string, not {version:?}"
            )));
        }
        let statements: Vec<Statement> = document.statement.into();
        if statements.is_empty() {
            return Err(PolicyError::Malformed(
                "Missing required field Statement".to_owned(),
            ));
        }
        for statement in &statements {
            statement.validate(bucket)?;
        }
        Ok(Policy { statements })
    }

    /// The policy's verdict on `action` ("s3:GetObject") by anyone on `resource` ("arn:aws:s3:::bucket/key").
    pub(crate) fn verdict(&self, action: &str, resource: &str) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in self
            .statements
            .iter()
            .filter(|statement| statement.applies(action, resource))
        {
            match statement.effect {
                Effect::Deny => return Verdict::Deny,
                Effect::Allow => verdict = Verdict::Allow,
            }
        }
        verdict
    }

    /// Whether it allows anything to everyone.
    pub(crate) fn is_public(&self) -> bool {
        self.statements.iter().any(|statement| {
            statement.effect == Effect::Allow && statement.principal.is_everybody()
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<Statement>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    #[serde(default)]
    principal: Principal,
    #[serde(default)]
    action: OneOrMany<String>,
    #[serde(default)]
    resource: OneOrMany<String>,
    condition: Option<Value>,
    not_principal: Option<Value>,
    not_action: Option<Value>,
    not_resource: Option<Value>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Principal {
    Name(String),
    Kinds(std::collections::BTreeMap<String, OneOrMany<String>>),
}

impl Default for Principal {
    fn default() -> Principal {
        Principal::Kinds(Default::default())
    }
}

impl Principal {
    /// `"*"` or `{"AWS": "*"}`. Any other principal is an account that this server does not know, and matches nobody.
    fn is_everybody(&self) -> bool {
        match self {
            Principal::Name(name) => name == "*",
            Principal::Kinds(kinds) => kinds
                .get("AWS")
                .is_some_and(|names| names.iter().any(|name| name == "*")),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn iter(&self) -> std::slice::Iter<'_, T> {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one).iter(),
            OneOrMany::Many(many) => many.iter(),
        }
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> OneOrMany<T> {
        OneOrMany::Many(Vec::new())
    }
}

impl<T> From<OneOrMany<T>> for Vec<T> {
    fn from(value: OneOrMany<T>) -> Vec<T> {
        match value {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

impl Statement {
    fn validate(&self, bucket: &str) -> Result<(), PolicyError> {
        for (element, value) in [
            ("Condition", &self.condition),
            ("NotPrincipal", &self.not_principal),
            ("NotAction", &self.not_action),
            ("NotResource", &self.not_resource),
        ] {
            if value.is_some() {
                return Err(PolicyError::Unsupported(element));
            }
        }
        let malformed = |reason: &str| Err(PolicyError::Malformed(reason.to_owned()));
        match &self.principal {
            Principal::Name(name) if name != "*" => {
                return malformed("Invalid principal in policy");
            }
            Principal::Kinds(kinds) if kinds.is_empty() => {
                return malformed("Missing required field Principal");
            }
            _ => {}
        }
        if self.action.iter().next().is_none() {
            return malformed("Missing required field Action");
        }
        if self.resource.iter().next().is_none() {
            return malformed("Missing required field Resource");
        }
        if !self
            .action
            .iter()
            .all(|action| action == "*" || action.to_ascii_lowercase().starts_with("s3:"))
        {
            return malformed("Policy has invalid action");
        }
        let bucket_arn = format!("arn:aws:s3:::{bucket}");
        let is_own = |resource: &String| {
            resource
                .strip_prefix(&bucket_arn)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !self.resource.iter().all(is_own) {
            return malformed("Policy has invalid resource");
        }
        // The classic mistake: s3:GetObject on the bucket itself allows nothing.
        let on_objects = self
            .resource
            .iter()
            .any(|resource| resource.len() > bucket_arn.len());
        if !on_objects && self.action.iter().any(|action| is_object_action(action)) {
            return malformed("Action does not apply to any resource(s) in statement");
        }
        Ok(())
    }

    fn applies(&self, action: &str, resource: &str) -> bool {
        self.principal.is_everybody()
            && self.action.iter().any(|pattern| {
                matches(
                    pattern.to_ascii_lowercase().as_bytes(),
                    action.to_ascii_lowercase().as_bytes(),
                )
            })
            && self
                .resource
                .iter()
                .any(|pattern| matches(pattern.as_bytes(), resource.as_bytes()))
    }
}

fn is_object_action(action: &str) -> bool {
    ["s3:getobject", "s3:putobject", "s3:deleteobject"].contains(&&*action.to_ascii_lowercase())
}

/// `*` matches any bytes, including slashes; `?` matches one.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // The last star, and the position in the text at which its rest is being tried.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_at, tried)) = star else {
                    return false;
                };
                star = Some((star_at, tried + 1));
                at = star_at + 1;
                from = tried + 1;
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(statement: &str) -> Result<Policy, PolicyError> {
        Policy::parse(
            &format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#),
            "fw",
        )
    }

    const OPEN_PUBLIC: &str = r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::fw/public/*"}"#;

    #[test]
    fn a_policy_opens_its_prefix_and_nothing_else() {
        let policy = policy(OPEN_PUBLIC).unwrap();
        assert_eq!(
            policy.verdict("s3:GetObject", "arn:aws:s3:::fw/public/a/b.bin"),
            Verdict::Allow
        );
        assert_eq!(
            policy.verdict("s3:GetObject", "arn:aws:s3:::fw/publicity"),
            Verdict::Silent
        );
        assert_eq!(
            policy.verdict("s3:GetObject", "arn:aws:s3:::fw"),
            Verdict::Silent
        );
        assert_eq!(
            policy.verdict("s3:PutObject", "arn:aws:s3:::fw/public/a"),
            Verdict::Silent
        );
    }

    #[test]
    fn deny_outranks_allow_in_any_order() {
        let deny = r#"{"Effect":"Deny","Principal":{"AWS":["*"]},"Action":["s3:Get*"],"Resource":["arn:aws:s3:::fw/public/x*"]}"#;
        for statements in [
            format!("[{OPEN_PUBLIC},{deny}]"),
            format!("[{deny},{OPEN_PUBLIC}]"),
        ] {
            let policy = policy(&statements).unwrap();
            assert_eq!(
                policy.verdict("s3:GetObject", "arn:aws:s3:::fw/public/x1"),
                Verdict::Deny
            );
            assert_eq!(
                policy.verdict("s3:GetObject", "arn:aws:s3:::fw/public/y"),
                Verdict::Allow
            );
        }
    }

    #[test]
    fn a_policy_for_another_account_opens_nothing() {
        let statement =
            OPEN_PUBLIC.replace(r#""*""#, r#"{"AWS":"arn:aws:iam::111122223333:root"}"#);
        let policy = policy(&statement).unwrap();
        assert_eq!(
            policy.verdict("s3:GetObject", "arn:aws:s3:::fw/public/a"),
            Verdict::Silent
        );
        assert!(!policy.is_public());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for element in ["Condition", "NotPrincipal", "NotAction", "NotResource"] {
            let statement = OPEN_PUBLIC.replacen('{', &format!(r#"{{"{element}":{{}},"#), 1);
            assert_eq!(
                policy(&statement).unwrap_err(),
                PolicyError::Unsupported(element)
            );
        }
    }

    #[test]
    fn a_malformed_policy_is_refused() {
        for statement in [
            "[]".to_owned(),
            "{}".to_owned(),
            OPEN_PUBLIC.replace("Allow", "allow"),
            OPEN_PUBLIC.replace(r#""Principal":"*","#, ""),
            OPEN_PUBLIC.replace("Principal", "Principle"),
            OPEN_PUBLIC.replace("s3:GetObject", "ec2:RunInstances"),
            OPEN_PUBLIC.replace(":::fw/", ":::other/"),
            OPEN_PUBLIC.replace(":::fw/", ":::fwx/"),
            OPEN_PUBLIC.replace("fw/public/*", "fw"),
        ] {
            assert!(
                matches!(policy(&statement), Err(PolicyError::Malformed(_))),
                "{statement}"
            );
        }
    }

    #[test]
    fn wildcards_match_as_in_policies() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "a/b/c"),
            ("a*c*e", "abcde"),
            ("a?c", "abc"),
            ("*x", "xxx"),
        ] {
            assert!(
                matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("a*c", "ab"),
            ("a?c", "ac"),
            ("", "a"),
            ("a*b*c", "acb"),
        ] {
            assert!(
                !matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
    }
}

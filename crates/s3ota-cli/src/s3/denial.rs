//! Why access is denied, as AWS says it.
//!
//! A missing permission is one that you can add. An explicit deny wins over every permission, and a KMS key has permissions of its own
//! ([IAM User Guide](https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html)).

use crate::error::CliError;

/// A refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Denial<'a> {
    /// The action that it names.
    action: Option<&'a str>,
    /// What it names as the resource.
    resource: Option<&'a str>,
    /// The kind of policy with an explicit deny.
    pub explicit: Option<&'a str>,
    /// The kind of policy that would have to allow it, if it is not one of your own.
    lacking: Option<&'a str>,
}

impl<'a> Denial<'a> {
    /// Reads a message.
    pub fn read(message: &'a str) -> Self {
        let word_after = |mark: &str| {
            let word = message.split_once(mark)?.1.split_whitespace().next()?;
            Some(word.trim_matches(['"', '\'', ',', '.', ';']))
        };
        let explicit = message.split_once("explicit deny").map(|(_, rest)| {
            let rest = rest.trim_start_matches([' ', ',']);
            let rest = rest
                .strip_prefix("in an ")
                .or_else(|| rest.strip_prefix("in a "));
            let kind = rest.unwrap_or("policy");
            let end = kind.find([':', '.', ',', ';', '"']).unwrap_or(kind.len());
            kind[..end].trim()
        });
        let lacking = message
            .split_once("because no ")
            .and_then(|(_, rest)| Some(rest.split_once(" allows")?.0))
            .filter(|kind| *kind != "identity-based policy");
        Self {
            action: word_after("perform: "),
            resource: word_after("on resource: ").or_else(|| word_after("on the resource: ")),
            explicit,
            lacking,
        }
    }

    /// Whether it is about a KMS key and not about the bucket.
    pub fn is_of_kms(&self) -> bool {
        self.action.is_some_and(|action| action.starts_with("kms:"))
    }

    /// The error, if it is no plain lack of a permission for `action` on `name`.
    pub fn explain(&self, said: &str, action: &str, name: &str) -> Option<CliError> {
        if self.is_of_kms() {
            let asked = self.action.unwrap_or_default();
            let key = self.resource.unwrap_or("the bucket's KMS key");
            let message = format!(
                "KMS does not permit {asked} with {key}, which encrypts s3://{name}: {said}"
            );
            let hint = match self.explicit {
                Some(kind) => format!(
                    "the {kind} of the key denies it, which no permission outweighs: {}",
                    whom(kind)
                ),
                None => format!(
                    "writing needs kms:GenerateDataKey and kms:Decrypt on {key}, by its key policy or by IAM, reading needs kms:Decrypt; or \
                     encrypt with S3's own keys: --sse AES256"
                ),
            };
            return Some(CliError::new("s3.kms", message).hint(hint));
        }
        if let Some(kind) = self.explicit {
            let message =
                format!("an explicit deny in a {kind} forbids {action} on s3://{name}: {said}");
            let hint = format!("no permission outweighs it: {}", whom(kind));
            return Some(CliError::new("s3.forbidden", message).hint(hint));
        }
        if let Some(kind) = self.lacking {
            let message = format!("no {kind} allows {action} on s3://{name}: {said}");
            let hint = format!(
                "a permission of your own is not enough here: {}",
                whom(kind)
            );
            return Some(CliError::new("s3.forbidden", message).hint(hint));
        }
        if said.contains("S3 Block Public Access") {
            let message = format!("Block Public Access forbids {action} on s3://{name}: {said}");
            return Some(CliError::new("s3.forbidden", message).hint(
                "`s3ota bucket init` turns it off for policies, if your account permits that; or keep the bucket private with --presign",
            ));
        }
        None
    }
}

/// Who can change a kind of policy, and how to see it.
fn whom(kind: &str) -> &'static str {
    match kind {
        "resource-based policy" => {
            "`aws s3api get-bucket-policy` shows the bucket's policy and its conditions; it may demand encryption (--sse aws:kms or --sse \
             AES256), a VPC endpoint, or an address"
        }
        "service control policy" | "resource control policy" => {
            "it is set for the account by those who administer the AWS organization"
        }
        "VPC endpoint policy" => {
            "the VPC endpoint on the way has a policy of its own: ask those who run the network, or use another network"
        }
        "permissions boundary" => {
            "the boundary of your IAM identity is set by those who administer the account"
        }
        "session policy" => {
            "the role was assumed with a session policy: assume it without, or with more"
        }
        _ => "ask those who administer the account",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code and the hint.
    fn of(reason: &str) -> Option<(&'static str, String)> {
        let said = format!(
            "User: arn:aws:iam::111122223333:user/ci is not authorized to perform: {reason}"
        );
        let error = Denial::read(&said).explain(&said, "s3:PutObject", "b/k")?;
        Some((error.code, error.hint.unwrap()))
    }

    #[test]
    fn a_missing_permission_is_told_from_a_deny_and_from_kms() {
        let plain = "s3:PutObject on resource: \"arn:aws:s3:::b/k\" because no identity-based policy allows the s3:PutObject action";
        assert_eq!(of(plain), None);
        assert_eq!(Denial::read("Access Denied").explain("", "", ""), None);
        for (kind, advice) in [
            ("resource-based policy", "--sse"),
            ("service control policy", "organization"),
            (
                "resource control policy: arn:aws:organizations::1:policy/x",
                "organization",
            ),
            ("VPC endpoint policy", "VPC endpoint"),
            ("permissions boundary", "boundary"),
            ("session policy", "session"),
            ("identity-based policy", "administer"),
        ] {
            let article = if kind.starts_with('i') { "an" } else { "a" };
            let (code, hint) = of(&format!(
                "s3:PutObject on resource: \"arn:aws:s3:::b/k\" with an explicit deny in {article} {kind}"
            ))
            .unwrap();
            assert_eq!(code, "s3.forbidden");
            assert!(hint.contains(advice), "{kind}: {hint}");
        }
        let (code, hint) = of("s3:PutObject on resource: \"x\" because no VPC endpoint policy allows the s3:PutObject action").unwrap();
        assert_eq!(code, "s3.forbidden");
        assert!(hint.contains("VPC endpoint"), "{hint}");
        let key = "arn:aws:kms:eu-central-1:111122223333:key/1234";
        for reason in [
            format!(
                "kms:GenerateDataKey on resource: {key} because no identity-based policy allows the kms:GenerateDataKey action"
            ),
            format!(
                "kms:Decrypt on the resource: {key} with an explicit deny in a resource-based policy"
            ),
        ] {
            let (code, hint) = of(&reason).unwrap();
            assert_eq!(code, "s3.kms");
            assert!(hint.contains("key"), "{hint}");
        }
    }
}

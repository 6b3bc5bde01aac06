//! Listing objects.

use std::sync::Arc;

use base16ct::lower::encode_string as hex;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Operations, length};
use crate::listing::{Page, Query};
use crate::store::Object as StoredObject;

/// The most keys in one page of a listing.
const MAX_KEYS: usize = 1000;

impl Operations {
    pub(super) async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let after = match &input.continuation_token {
            Some(token) => read_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after,
            max_keys: max_keys(input.max_keys)?,
        };
        let encode = Encoding::new(input.encoding_type.as_ref());
        let page = self.store.list(&input.bucket, &query)?;
        let (contents, common_prefixes) = entries(&page, encode);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode.text(&query.prefix)),
            delimiter: input.delimiter.map(|delimiter| encode.text(&delimiter)),
            max_keys: Some(count(query.max_keys)),
            key_count: Some(count(contents.len() + common_prefixes.len())),
            continuation_token: input.continuation_token,
            start_after: input.start_after.map(|key| encode.text(&key)),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|name| hex(name.as_bytes())),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..Default::default()
        }))
    }

    pub(super) async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone().unwrap_or_default(),
            max_keys: max_keys(input.max_keys)?,
        };
        let encode = Encoding::new(input.encoding_type.as_ref());
        let page = self.store.list(&input.bucket, &query)?;
        let (contents, common_prefixes) = entries(&page, encode);
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encode.text(&query.prefix)),
            // Without a delimiter the last key is the next marker, and S3 does not repeat it.
            next_marker: page
                .next
                .as_deref()
                .filter(|_| query.delimiter.is_some())
                .map(|name| encode.text(name)),
            delimiter: input.delimiter.map(|delimiter| encode.text(&delimiter)),
            marker: Some(encode.text(&query.after)),
            max_keys: Some(count(query.max_keys)),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..Default::default()
        }))
    }
}

/// How keys are written in a listing: as they are, or percent-encoded, for keys that XML cannot represent.
#[derive(Clone, Copy)]
pub(super) struct Encoding {
    url: bool,
}

impl Encoding {
    pub(super) fn new(encoding_type: Option<&EncodingType>) -> Encoding {
        Encoding {
            url: encoding_type.is_some_and(|it| it.as_str() == EncodingType::URL),
        }
    }

    pub(super) fn text(self, key: &str) -> String {
        if !self.url {
            return key.to_owned();
        }
        let mut encoded = String::with_capacity(key.len());
        for &byte in key.as_bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        encoded
    }
}

fn entries(page: &Page, encode: Encoding) -> (Vec<Object>, Vec<CommonPrefix>) {
    let object = |object: &Arc<StoredObject>| Object {
        key: Some(encode.text(&object.key)),
        e_tag: Some(object.etag()),
        last_modified: Some(object.last_modified()),
        size: Some(length(object.size)),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        ..Default::default()
    };
    let prefix = |prefix: &String| CommonPrefix {
        prefix: Some(encode.text(prefix)),
    };
    (
        page.objects.iter().map(object).collect(),
        page.common_prefixes.iter().map(prefix).collect(),
    )
}

pub(super) fn max_keys(asked: Option<i32>) -> S3Result<usize> {
    match asked {
        None => Ok(MAX_KEYS),
        Some(asked) => usize::try_from(asked)
            .map(|asked| asked.min(MAX_KEYS))
            .map_err(|_| s3_error!(InvalidArgument, "max-keys must not be negative")),
    }
}

/// A continuation token is the last name of the page before, in hex so that clients treat it as opaque.
fn read_token(token: &str) -> S3Result<String> {
    base16ct::lower::decode_vec(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "The continuation token provided is incorrect"
            )
        })
}

pub(super) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

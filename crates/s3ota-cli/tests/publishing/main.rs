//! The commands that change and show a bucket, on a real S3 server over TLS.

#[path = "../support/bucket.rs"]
mod bucket;
#[path = "../support/http_proxy.rs"]
mod http_proxy;
#[path = "../support/keys.rs"]
mod keys_bench;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/quirks.rs"]
mod quirks;
#[path = "../support/upstream.rs"]
mod upstream;

mod advice;
mod approval;
mod between;
mod bucket_logs;
mod cuts;
mod deltas;
mod hostile_bucket;
mod installer;
mod keys;
mod legacy_clients;
mod lifecycle;
mod lost_output;
mod permissions;
mod presign;
mod publish;
mod races;
mod settings;
mod shell;
mod signing;
mod state;
mod status;
mod stores;
mod terminal;
mod widths;

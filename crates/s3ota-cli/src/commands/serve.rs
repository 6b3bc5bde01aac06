//! `s3ota serve`: the development server. Its secret key is created on the first start, and kept in its folder.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use s3ota_devserver::{Access, Options};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::clock;
use crate::error::CliError;
use crate::output::Output;
use crate::s3::Credentials;
use crate::s3::development::{self, bucket_on, start};

/// Run an S3 server over HTTPS for development
///
/// Buckets are folders in DIR. Anyone may read; writing needs the access key that it prints. The secret key and the CA of its
/// certificate are created on the first start and kept in DIR; pass the CA to clients and virtual devices with --ca.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota serve --bucket firmware
  s3ota serve --dir server --listen 0.0.0.0:9443 --host 192.168.1.20")]
pub struct ServeArgs {
    /// Where buckets, objects and the CA are kept
    #[arg(long, default_value = "s3ota-data")]
    pub dir: PathBuf,

    /// A bucket to create, if it does not exist yet
    #[arg(long = "bucket", value_name = "NAME")]
    pub buckets: Vec<String>,

    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9443", value_parser = super::parse_listen)]
    pub listen: SocketAddr,

    /// Allow reading without a key only where a bucket policy does, as on AWS
    #[arg(long)]
    pub private: bool,

    /// Another name or address for the server's certificate
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
}

/// Serves until Ctrl-C.
pub async fn run(args: ServeArgs, out: &Output) -> Result<(), CliError> {
    let secret_key = development::secret_of_folder(&args.dir)?;
    let options = Options {
        secret_key,
        dir: Some(args.dir),
        listen: args.listen,
        host_names: args.hosts,
        access: if args.private {
            Access::Policy
        } else {
            Access::PublicRead
        },
        ..Options::default()
    };
    let (server, credentials) = start(options).await?;
    for bucket in &args.buckets {
        let location = format!("s3://{bucket}").parse();
        let location =
            location.map_err(|error: CliError| error.hint("name it like `firmware`").usage())?;
        bucket_on(&server, &credentials, &location).await?;
    }
    let Credentials {
        access_key,
        secret_key,
    } = credentials;
    let mut requests = server.requests();
    let url = server.endpoint_url();
    let ca = server.ca_path().display().to_string();
    let bucket = args.buckets.first().map_or("firmware", String::as_str);
    let make_it = match args.buckets.first() {
        Some(_) => String::new(),
        None => format!(
            "\n  s3ota bucket init s3://{bucket}/lamp --yes    # or: s3ota serve --bucket {bucket}"
        ),
    };
    out.say(format_args!(
        "An S3 server for development listens on {url}\n\
         \n  buckets      {}\n  CA           {ca}\n  access key   {access_key}\n  secret key   {secret_key}\n\
         \nIn another terminal:\n\
         \n  export AWS_ENDPOINT_URL={url} AWS_CA_BUNDLE={ca}\
         \n  export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION=us-east-1{make_it}\
         \n  s3ota device new flash.bin --image OLD.bin\
         \n  s3ota publish FIRMWARE s3://{bucket}/lamp\
         \n  s3ota device run flash.bin --ca {ca} --manifest-url {url}/{bucket}/lamp/stable.json\n",
        server.dir().display(),
    ));
    out.event(
        "listening",
        json!({
            "endpoint_url": url, "ca": ca, "dir": server.dir().display().to_string(),
            "access_key": access_key, "secret_key": secret_key,
        }),
    );
    development::warn_if_open(server.dir(), out);
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            request = requests.recv() => match request {
                Ok(request) => {
                    let agent = short(request.user_agent.as_deref().unwrap_or("-"));
                    out.say(format_args!(
                        "{} {:>3} {:>9} {} {}  {agent}",
                        time_of_day(), request.status, request.bytes, request.method, request.path
                    ));
                    out.event("request", json!({
                        "time": clock::timestamp().to_string(), "method": request.method, "path": request.path, "host": request.host,
                        "status": request.status, "bytes": request.bytes, "user_agent": request.user_agent,
                    }));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            },
        }
    }
    out.say("stopped");
    server.stop().await;
    Ok(())
}

/// The User-Agent of a device as a whole, otherwise the product only: an SDK's is long.
fn short(agent: &str) -> &str {
    if agent.starts_with("s3ota/") {
        agent
    } else {
        agent.split(' ').next().unwrap_or(agent)
    }
}

/// The time of day in UTC.
fn time_of_day() -> String {
    let now = clock::now();
    format!(
        "{:02}:{:02}:{:02}",
        now / 3600 % 24,
        now / 60 % 60,
        now % 60
    )
}

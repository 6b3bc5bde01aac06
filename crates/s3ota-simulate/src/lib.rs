#![doc = include_str!("../README.md")]

mod channel;
mod cost;
mod device;
mod foreign;
mod load;
mod log;
mod model;
mod name;
mod observer;
mod plan;
mod request;
mod run;
mod scenario;
mod story;
mod time;
mod truth;

pub use channel::CHANNEL;
pub use cost::{Bill, GIB, PRICES_AS_OF, PRICES_FROM, Traffic};
pub use load::{Load, Moment, Return};
pub use log::{LogFolder, Written};
pub use model::Model;
pub use plan::{Interval, intervals};
pub use run::{Run, SimulateError, Spread, simulate};
pub use s3ota_answers as answers;
pub use scenario::{Bucket, Change, PowerFailure, Product, Release, Scenario};
pub use truth::{Rollout, Truth};

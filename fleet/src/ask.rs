//! The answers, put together from what the engine says.

use std::collections::BTreeMap;

use s3ota_manifest::Version;

use crate::answers::{
    Counts, Device, Errors, Event, Mix, Point, Progress, Release, Report, Rollout, Silent, Status,
    UNKNOWN, Verdict, What,
};
#[cfg(feature = "athena")]
use crate::athena::Athena;
use crate::error::{Error, Result};
use crate::figures::{by_precedence, percent, share};
use crate::questions::engine::{Engine, Rows};
use crate::questions::{self, Question, Value};
use crate::sightings::DAY;
use crate::sources::time;

/// After what time a device counts as silent, unless it is said.
pub const SILENT_AFTER: u32 = 7 * DAY;

/// How many silent devices are named, unless all are wanted.
pub const NAMED: i64 = 20;

/// A release fails if more of the devices that tried it fail, unless it is said.
pub const FAIL_ABOVE: f64 = 0.05;

const HOUR: i64 = 3600;

/// What the bucket says of a release.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    /// The channel.
    pub channel: String,
    /// The version of its manifest.
    pub version: String,
    /// The percentage of the devices that may take it.
    pub percent: f64,
    /// When the version was published, if its record tells.
    pub since: Option<u32>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// After what time a device is silent, in seconds.
    pub silent_after: u32,
    /// How many silent devices are named.
    pub named: i64,
    /// The channel whose rollout is shown: the one with most devices if none is named.
    pub channel: Option<String>,
    /// What the bucket says.
    pub published: Option<Published>,
    /// Up to what failure rate a release is healthy.
    pub fail_above: f64,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            silent_after: SILENT_AFTER,
            named: NAMED,
            channel: None,
            published: None,
            fail_above: FAIL_ABOVE,
        }
    }
}

/// Who is asked.
pub enum Answerer {
    /// The engine in this program.
    Here(Engine),
    /// Amazon Athena.
    #[cfg(feature = "athena")]
    Athena(Athena),
}

impl From<Engine> for Answerer {
    fn from(engine: Engine) -> Self {
        Self::Here(engine)
    }
}

#[cfg(feature = "athena")]
impl From<Athena> for Answerer {
    fn from(athena: Athena) -> Self {
        Self::Athena(athena)
    }
}

impl Answerer {
    async fn ask(&self, question: Question, values: &[(&str, Value<'_>)]) -> Result<Rows> {
        match self {
            Self::Here(engine) => engine.ask(question, values).await,
            #[cfg(feature = "athena")]
            Self::Athena(athena) => athena.ask(question, values).await,
        }
    }

    async fn devices(&self) -> Result<Rows> {
        match self {
            Self::Here(engine) => engine.devices().await,
            #[cfg(feature = "athena")]
            Self::Athena(athena) => athena.devices().await,
        }
    }

    async fn close(&self) {
        match self {
            Self::Here(_) => {}
            #[cfg(feature = "athena")]
            Self::Athena(athena) => athena.close().await,
        }
    }

    /// As of a moment, the newest sighting. Athena has made its tables up to that moment.
    async fn newest(&self, at: Option<u32>) -> Result<u32> {
        match self {
            Self::Here(engine) => engine.as_of(at).await?,
            #[cfg(feature = "athena")]
            Self::Athena(_) => {}
        }
        let newest = self.ask(questions::NEWEST, &[]).await?.numbers("time")?;
        let newest = newest.first().copied().flatten();
        newest
            .and_then(|it| u32::try_from(it).ok())
            .ok_or_else(|| {
                let message = match at {
                    None => "no device of s3ota is in these logs".to_owned(),
                    Some(at) => format!(
                        "no device of s3ota is in these logs up to {}",
                        time::written(at)
                    ),
                };
                Error::new("logs.empty", message).hint(
                    "S3 delivers its logs some hours late. `s3ota doctor` says whether the bucket writes any; \
                     a device is in them if it sends its User-Agent",
                )
            })
    }
}

/// Someone who knows the answers, as of a moment.
pub struct Observer {
    engine: Answerer,
    at: u32,
    wish: Wish,
}

fn text(at: i64) -> String {
    time::written(u32::try_from(at).unwrap_or_default())
}

fn day(day: i64) -> String {
    let mut text = text(day.saturating_mul(DAY.into()));
    text.truncate("2026-11-20".len());
    text
}

fn named(name: String) -> String {
    if name.is_empty() {
        UNKNOWN.to_owned()
    } else {
        name
    }
}

fn highest(versions: impl IntoIterator<Item = String>) -> Option<String> {
    versions.into_iter().max_by(|a, b| by_precedence(a, b))
}

impl Observer {
    /// As of a moment, or of the newest sighting.
    ///
    /// # Errors
    ///
    /// If there are no sightings, or the cache cannot be read.
    pub async fn new(engine: impl Into<Answerer>, at: Option<u32>, wish: Wish) -> Result<Self> {
        let engine = engine.into();
        match engine.newest(at).await {
            Ok(newest) => Ok(Self {
                engine,
                at: at.unwrap_or(newest),
                wish,
            }),
            Err(error) => {
                engine.close().await;
                Err(error)
            }
        }
    }

    /// Removes what was made only for these answers.
    pub async fn close(&self) {
        self.engine.close().await;
    }

    /// The moment of the answers.
    pub fn at(&self) -> u32 {
        self.at
    }

    /// `fleet status`
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub async fn status(&self) -> Result<Status> {
        let silent_after = i64::from(self.wish.silent_after);
        let values = [
            ("at", Value::Number(self.at.into())),
            ("silent_after", Value::Number(silent_after)),
            ("limit", Value::Number(self.wish.named)),
        ];
        let rows = self.engine.ask(questions::COUNTS, &values).await?;
        let mut all: BTreeMap<String, Counts> = BTreeMap::new();
        let (what, names, counts) = (rows.texts("what")?, rows.texts("name")?, rows.counts("n")?);
        for ((what, name), n) in what.into_iter().zip(names).zip(counts) {
            *all.entry(what).or_default().entry(named(name)).or_default() += n;
        }
        let mut take = |what: &str| all.remove(what).unwrap_or_default();
        let states = take("state");
        let errors = take("error");
        let of = |states: &Counts, name: &str| states.get(name).copied().unwrap_or_default();
        let silent = self.engine.ask(questions::SILENT, &values).await?;
        let silent_devices = silent.texts("device")?.into_iter();
        let silent_devices = silent_devices
            .zip(silent.counts("last_seen")?)
            .zip(silent.texts("version")?)
            .map(|((device, since), version)| Silent {
                device,
                since: text(i64::try_from(since).unwrap_or_default()),
                version: named(version),
            });
        let without_id = self
            .engine
            .ask(questions::WITHOUT_ID, &[])
            .await?
            .counts("requests")?;
        Ok(Status {
            at: time::written(self.at),
            devices: take("devices").values().sum(),
            seen: take("seen"),
            versions: take("version"),
            chips: take("chip"),
            boot: take("boot"),
            channels: take("channel"),
            on_trial: of(&states, "trial"),
            rolled_back: of(&states, "back"),
            stuck: of(&states, "stuck"),
            failing: errors.values().sum(),
            errors,
            silent: take("silent").values().sum(),
            silent_after: self.wish.silent_after.into(),
            silent_devices: silent_devices.collect(),
            without_id: without_id.first().copied().unwrap_or_default(),
            rollout: self.progress().await?,
        })
    }

    /// The progress of a channel's release.
    async fn progress(&self) -> Result<Option<Progress>> {
        let rows = self.engine.ask(questions::CHANNELS, &[]).await?;
        let mut channels: BTreeMap<String, Counts> = BTreeMap::new();
        let texts = rows
            .texts("channel")?
            .into_iter()
            .zip(rows.texts("version")?);
        for ((channel, version), devices) in texts.zip(rows.counts("devices")?) {
            channels
                .entry(channel)
                .or_default()
                .insert(version, devices);
        }
        let published = self.wish.published.as_ref();
        let most = channels
            .iter()
            // Of two with as many, the first by name.
            .max_by(|a, b| {
                let count = |counts: &Counts| counts.values().sum::<u64>();
                count(a.1).cmp(&count(b.1)).then_with(|| b.0.cmp(a.0))
            })
            .map(|(channel, _)| channel.clone());
        let channel = published.map(|it| it.channel.clone());
        let Some(channel) = channel.or_else(|| self.wish.channel.clone()).or(most) else {
            return Ok(None);
        };
        let counts = channels.remove(&channel).unwrap_or_default();
        let version = match published {
            Some(it) => Some(it.version.clone()),
            None => {
                let value = [("channel", Value::Text(&channel))];
                highest(
                    self.engine
                        .ask(questions::RAN, &value)
                        .await?
                        .texts("version")?,
                )
            }
        };
        let Some(version) = version else {
            return Ok(None);
        };
        let devices = counts.values().sum();
        let running = counts.get(&version).copied().unwrap_or_default();
        Ok(Some(Progress {
            channel,
            version,
            percent: published.map(|it| it.percent),
            devices,
            running,
            share: share(running, devices),
        }))
    }

    /// `fleet device ID`
    ///
    /// # Errors
    ///
    /// If the device is not in the logs.
    pub async fn device(&self, id: &str) -> Result<Device> {
        let value = [("device", Value::Text(id))];
        let rows = self.engine.ask(questions::ONE, &value).await?;
        let text_of = |name: &str| Ok(rows.texts(name)?.into_iter().next().unwrap_or_default());
        if rows.is_empty() {
            let message = format!("no device {id} is in these logs");
            return Err(Error::new("fleet.device", message).hint(
                "the id is the one that the device sends: `dev` in its User-Agent. `s3ota fleet status --csv FILE` lists all; \
                 where ids are sent as a keyed hash, name the hash",
            ));
        }
        let moment = |name: &str| -> Result<String> {
            Ok(text(
                rows.numbers(name)?
                    .into_iter()
                    .next()
                    .flatten()
                    .unwrap_or_default(),
            ))
        };
        let told = self.engine.ask(questions::STORY, &value).await?;
        Ok(Device {
            device: text_of("device")?,
            first_seen: moment("first_seen")?,
            last_seen: moment("last_seen")?,
            version: named(text_of("version")?),
            chip: named(text_of("chip")?),
            channel: text_of("channel")?,
            state: named(text_of("state")?),
            last: text_of("last")?,
            story: self.story(&told)?,
        })
    }

    fn story(&self, told: &Rows) -> Result<Vec<Event>> {
        let times = told.numbers("time")?;
        let (kinds, backs) = (told.texts("state_kind")?, told.texts("back_from")?);
        let (versions, lasts) = (told.texts("fw")?, told.texts("last")?);
        let errors = told.texts("error")?;
        let silent_after = i64::from(self.wish.silent_after);
        let mut story = Vec::new();
        let mut tell = |at: i64, what: What| story.push(Event { at: text(at), what });
        // What it told last. What a request leaves out has not changed.
        let (mut version, mut kind, mut back, mut error) = ("", "", "", "");
        let mut before: Option<i64> = None;
        for (at, time) in times.iter().enumerate() {
            let time = time.unwrap_or_default();
            let [now, state, from, last, failed] = [&versions, &kinds, &backs, &lasts, &errors]
                .map(|texts| texts.get(at).map_or("", String::as_str));
            match before {
                None => tell(
                    time,
                    What::Seen {
                        version: named(now.to_owned()),
                    },
                ),
                Some(before) if time - before > silent_after => tell(
                    before,
                    What::Silent {
                        until: Some(text(time)),
                    },
                ),
                Some(_) => {}
            }
            before = Some(time);
            let changed = !now.is_empty() && now != version;
            if changed {
                if !version.is_empty() {
                    let (from, to) = (version.to_owned(), now.to_owned());
                    tell(time, What::Version { from, to });
                }
                version = now;
            }
            match state {
                "" => {}
                "trial" if kind != "trial" || changed => {
                    tell(
                        time,
                        What::Trial {
                            version: named(version.to_owned()),
                        },
                    );
                }
                "valid" if kind == "trial" && !changed => {
                    tell(
                        time,
                        What::Confirmed {
                            version: named(version.to_owned()),
                        },
                    );
                }
                "back" if kind != "back" || back != from => {
                    tell(
                        time,
                        What::RolledBack {
                            of: from.to_owned(),
                        },
                    );
                }
                _ => {}
            }
            if !state.is_empty() {
                (kind, back) = (state, from);
            }
            if !last.is_empty() {
                if !failed.is_empty() && failed != error {
                    tell(
                        time,
                        What::Error {
                            code: failed.to_owned(),
                        },
                    );
                } else if failed.is_empty() && !error.is_empty() {
                    tell(time, What::Recovered);
                }
                error = failed;
            }
        }
        if let Some(before) = before
            && i64::from(self.at) - before > silent_after
        {
            tell(before, What::Silent { until: None });
        }
        Ok(story)
    }

    /// `fleet rollout`: of a version, or of the newest.
    ///
    /// # Errors
    ///
    /// If the version is not in the logs.
    pub async fn rollout(&self, version: Option<&str>) -> Result<Rollout> {
        let rows = self.engine.ask(questions::VERSIONS, &[]).await?;
        let all: Vec<(String, bool)> = rows
            .texts("version")?
            .into_iter()
            .zip(rows.counts("ran")?.iter().map(|ran| *ran > 0))
            .collect();
        let published = self.wish.published.as_ref().map(|it| it.version.clone());
        let wanted = version.map(str::to_owned).or(published);
        // Devices may write a version in another way than it was asked for: `v1.2` is 1.2.0.
        let same = |version: &str| match (
            Version::parse(version),
            Version::parse(wanted.as_deref().unwrap_or_default()),
        ) {
            (Ok(a), Ok(b)) => a.to_string() == b.to_string(),
            _ => wanted.as_deref() == Some(version),
        };
        let exact = wanted
            .as_ref()
            .filter(|wanted| all.iter().any(|it| it.0 == **wanted));
        let version = match (&wanted, exact) {
            (_, Some(exact)) => exact.clone(),
            (Some(wanted), None) => {
                let known = all.iter().map(|it| &it.0).find(|it| same(it));
                known.cloned().unwrap_or_else(|| wanted.clone())
            }
            (None, None) => highest(all.iter().map(|it| it.0.clone())).ok_or_else(|| {
                Error::new("fleet.version", "no device in these logs tells its version")
            })?,
        };
        let lower = all
            .iter()
            .filter(|it| it.1 && by_precedence(&it.0, &version).is_lt());
        let before = highest(lower.map(|it| it.0.clone()));
        let release = self.release(&version).await?;
        let before = match before {
            Some(before) => Some(self.release(&before).await?),
            None => None,
        };
        let (verdict, sentence) = judge(&release, before.as_ref(), self.wish.fail_above);
        Ok(Rollout {
            release,
            before,
            verdict,
            sentence,
        })
    }

    async fn release(&self, version: &str) -> Result<Release> {
        let value = ("version", Value::Text(version));
        let rows = self.engine.ask(questions::RELEASE, &[value]).await?;
        let count = |name: &str| Ok(rows.counts(name)?.first().copied().unwrap_or_default());
        let published = self
            .wish
            .published
            .as_ref()
            .filter(|it| it.version == version);
        let published = published.and_then(|it| it.since).map(i64::from);
        let since = published.or(rows.numbers("since")?.first().copied().flatten());
        let (tried, failed) = (count("tried")?, count("failed")?);
        Ok(Release {
            version: version.to_owned(),
            since: since.map(text),
            devices: count("devices")?,
            tried,
            running: count("running")?,
            confirmed: count("confirmed")?,
            failed,
            failure_rate: share(failed, tried),
            curve: match since {
                Some(since) => self.curve(value, since).await?,
                None => Vec::new(),
            },
        })
    }

    async fn curve(&self, version: (&str, Value<'_>), since: i64) -> Result<Vec<Point>> {
        let values = [version, ("since", Value::Number(since))];
        let rows = self.engine.ask(questions::CURVE, &values).await?;
        let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
        let mut running = 0;
        for (hour, devices) in rows
            .numbers("hour")?
            .into_iter()
            .zip(rows.counts("devices")?)
        {
            running += devices;
            hours.insert(hour.unwrap_or_default(), running);
        }
        let hourly = 0..=3 * 24;
        let daily = (4..).map(|day| day * 24);
        Ok(hourly
            .chain(daily)
            .map(|hour| (hour, since + hour * HOUR))
            .take_while(|(_, at)| *at <= self.at.into())
            .map(|(hour, at)| Point {
                at: text(at),
                running: hours.range(..=hour).next_back().map_or(0, |it| *it.1),
            })
            .collect())
    }

    /// `fleet mix`
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub async fn mix(&self) -> Result<Vec<Mix>> {
        let rows = self.engine.ask(questions::MIX, &[]).await?;
        let mut changes: BTreeMap<i64, Vec<(String, i64)>> = BTreeMap::new();
        let texts = rows.numbers("day")?.into_iter().zip(rows.texts("version")?);
        for ((day, version), change) in texts.zip(rows.numbers("change")?) {
            let change = (version, change.unwrap_or_default());
            changes
                .entry(day.unwrap_or_default())
                .or_default()
                .push(change);
        }
        let Some(first) = changes.keys().next().copied() else {
            return Ok(Vec::new());
        };
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        let mut mix = Vec::new();
        for today in first..=i64::from(self.at / DAY) {
            for (version, change) in changes.remove(&today).unwrap_or_default() {
                *counts.entry(named(version)).or_default() += change;
            }
            let there = counts.iter().filter(|(_, devices)| **devices > 0);
            mix.extend(there.map(|(version, devices)| Mix {
                day: day(today),
                version: version.clone(),
                devices: devices.unsigned_abs(),
            }));
        }
        Ok(mix)
    }

    /// `fleet errors`
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub async fn errors(&self) -> Result<Vec<Errors>> {
        let rows = self.engine.ask(questions::ERRORS, &[]).await?;
        let texts = rows.numbers("day")?.into_iter().zip(rows.texts("code")?);
        Ok(texts
            .zip(rows.counts("devices")?)
            .map(|((at, code), devices)| Errors {
                day: day(at.unwrap_or_default()),
                code,
                devices,
            })
            .collect())
    }

    /// All answers that are about the whole fleet, with this status.
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub async fn report(&self, status: Status) -> Result<Report> {
        Ok(Report {
            status,
            rollout: match self.rollout(None).await {
                Err(error) if error.code == "fleet.version" => None,
                rollout => Some(rollout?),
            },
            mix: self.mix().await?,
            errors: self.errors().await?,
        })
    }

    /// One row for each device.
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub async fn devices(&self) -> Result<Rows> {
        self.engine.devices().await
    }
}

/// What a release's figures mean.
fn judge(release: &Release, before: Option<&Release>, fail_above: f64) -> (Verdict, String) {
    let Release {
        version,
        devices,
        tried,
        failed,
        failure_rate,
        ..
    } = release;
    // One in a hundred of the fleet, and twenty devices in a large one.
    let enough = (devices / 100).clamp(1, 20);
    let so_far = format!(
        "{failed} of {tried} devices that tried {version} failed ({})",
        percent(*failure_rate)
    );
    if *failure_rate > fail_above {
        let sentence = format!(
            "{so_far}: that is more than {}. Stop, and look at the errors.",
            percent(fail_above)
        );
        return (Verdict::Failing, sentence);
    }
    if *tried < enough {
        let sentence = match tried {
            0 => format!("No device has tried {version} yet. Wait."),
            _ => format!(
                "{so_far}: with {devices} devices, {enough} should have tried it before you go on."
            ),
        };
        return (Verdict::Watch, sentence);
    }
    if let Some(before) = before
        && *failed > 2
        && *failure_rate > 2.0 * before.failure_rate
    {
        let sentence = format!(
            "{so_far}: that is more than twice as many as with {} ({}). Look at the errors before you go on.",
            before.version,
            percent(before.failure_rate)
        );
        return (Verdict::Watch, sentence);
    }
    (Verdict::Healthy, format!("{so_far}. Go on."))
}

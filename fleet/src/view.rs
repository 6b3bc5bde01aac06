//! A view of a fleet: its logs read, as far as they are new, and someone to ask about them.

use std::path::{Path, PathBuf};

use crate::ask::{Observer, Wish};
use crate::cache::{self, Cache};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::questions;
use crate::questions::engine::Engine;
use crate::sightings::{DAY, Sightings, Tally};
use crate::sources::bucket::{Access, Bucket, Location};
use crate::sources::files;

/// Where logs come from: files and folders, and buckets.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Buckets.
    pub buckets: Vec<Location>,
    /// How to reach these.
    pub access: Access,
    /// Where the cache is; a folder of the user's if none is named.
    pub cache: Option<PathBuf>,
    /// Whether all objects of a bucket are listed, also those with old dates.
    pub everything: bool,
}

/// What came of reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// How much was new.
    pub tally: Tally,
    /// What could not be read.
    pub problems: Vec<String>,
}

impl Logs {
    /// By what was written on the command line.
    ///
    /// # Errors
    ///
    /// If a location is none, or nothing is named.
    pub fn of(sources: &[String], access: Access) -> Result<Self> {
        let mut logs = Self {
            access,
            ..Self::default()
        };
        for source in sources {
            if source.contains("://") {
                logs.buckets.push(source.parse()?);
            } else {
                let path = Path::new(source);
                // The same folder has the same cache, whatever it is called.
                logs.paths.push(path.canonicalize().map_err(|error| {
                    Error::file(path, error)
                        .hint("name a file or a folder with access logs, or s3://BUCKET/PREFIX")
                })?);
            }
        }
        if sources.is_empty() {
            return Err(
                Error::new("logs.source", "where are the access logs?").hint(
                    "name them: --logs s3://BUCKET/PREFIX or --logs FOLDER, or set S3OTA_LOGS. \
                 `s3ota bucket init --log-bucket` turns them on",
                ),
            );
        }
        Ok(logs)
    }

    /// What tells one set of sources from another.
    fn name(&self) -> String {
        let mut names: Vec<String> = self
            .paths
            .iter()
            .map(|it| it.display().to_string())
            .collect();
        let endpoint = self.access.endpoint_url.as_deref().unwrap_or_default();
        names.extend(
            self.buckets
                .iter()
                .map(|it| format!("{it} {endpoint}").trim_end().to_owned()),
        );
        names.sort();
        names.join("\n")
    }

    fn cache_folder(&self) -> Result<PathBuf> {
        if let Some(cache) = &self.cache {
            return Ok(cache.clone());
        }
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|it| !it.is_empty())
                .map(PathBuf::from)
        };
        let base = if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            variable("HOME").map(|it| it.join("Library/Caches"))
        } else {
            let named = variable("XDG_CACHE_HOME").filter(|it| it.is_absolute());
            named.or_else(|| variable("HOME").map(|it| it.join(".cache")))
        };
        let base = base.ok_or_else(|| {
            Error::new("cache.place", "there is no home directory for a cache")
                .hint("name a folder with --cache")
        })?;
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.name().hash(&mut hasher);
        Ok(base
            .join("s3ota")
            .join("fleet")
            .join(format!("{:016x}", hasher.finish())))
    }

    /// Reads what is new, and answers as of a moment; as of the newest sighting if none is named.
    ///
    /// # Errors
    ///
    /// If logs or cache cannot be read, or there are no sightings.
    pub async fn observe(
        &self,
        at: Option<u32>,
        wish: Wish,
        progress: &Progress,
    ) -> Result<(Observer, Read)> {
        let mut cache = Cache::open(&self.cache_folder()?, &self.name())?;
        let mut read = Read::default();
        let mut add = |(tally, problems): (Tally, Vec<String>)| {
            read.tally.add(tally);
            read.problems.extend(problems);
        };
        if !self.paths.is_empty() {
            add(files::read(&self.paths, &mut cache, progress)?);
        }
        for location in &self.buckets {
            let bucket = Bucket::connect(&self.access, location.clone()).await?;
            add(bucket.read(&mut cache, self.everything, progress).await?);
        }
        progress.end();
        let (sightings, anonymous) = cache.segments();
        let engine = Engine::over_files(sightings, anonymous).await?;
        if let Some(at) = at
            && !is_end_of_day(at)
            && engine.newest().await?.is_some_and(|newest| newest > at)
        {
            // Of a day the cache keeps the first and the last of what is the same. Up to a moment within it, the logs tell.
            let seen = self.read_until(at, progress).await?;
            let engine = Engine::over_rows(cache::batches(&seen)?, cache::anonymous_batch(&seen)?)?;
            return Ok((Observer::new(engine, Some(at), wish).await?, read));
        }
        Ok((Observer::new(engine, at, wish).await?, read))
    }

    async fn read_until(&self, at: u32, progress: &Progress) -> Result<Sightings> {
        let mut seen = Sightings::default();
        if !self.paths.is_empty() {
            seen.merge(files::read_until(&self.paths, at, progress)?);
        }
        for location in &self.buckets {
            let bucket = Bucket::connect(&self.access, location.clone()).await?;
            seen.merge(bucket.read_until(at, progress).await?);
        }
        progress.end();
        Ok(seen)
    }
}

fn is_end_of_day(at: u32) -> bool {
    at % DAY == DAY - 1
}

impl Engine {
    /// The newest sighting of all.
    async fn newest(&self) -> Result<Option<u32>> {
        self.as_of(None).await?;
        let newest = self.ask(questions::NEWEST, &[]).await?.numbers("time")?;
        Ok(newest
            .first()
            .copied()
            .flatten()
            .and_then(|it| u32::try_from(it).ok()))
    }
}

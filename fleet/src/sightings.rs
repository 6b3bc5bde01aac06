//! What was seen, reduced to what the answers need.
//!
//! A *sighting* is one request of a device in a log: a moment, a device, and the facts that it told. All answers are of sets: the last
//! sighting of a device, the first with a version, the devices with an error. So of all sightings of one device on one UTC day with the
//! same facts, the first and the last say as much as all of them, and these two are kept. A fleet's month takes some rows a device and
//! day, however often its devices ask, and it does not matter in what order lines come, nor how often.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use s3ota_manifest::layout;
use s3ota_manifest::user_agent::{Last, State, UserAgent};

/// The seconds of a day.
pub const DAY: u32 = 86_400;

/// What every device's User-Agent begins with.
pub const PRODUCT: &str = "s3ota/";

/// What a device told in a request. What it did not tell is empty.
///
/// Of two sightings in the same second, the one whose facts are greater, in this order, counts as the later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Facts {
    /// `valid`, `trial`, `trial:N/M`, `back:VERSION`, `stuck:CODE`.
    pub state: Box<str>,
    /// The firmware's version.
    pub fw: Box<str>,
    /// `ok@VERSION`, `CODE`, `CODE@VERSION`.
    pub last: Box<str>,
    /// The chip.
    pub chip: Box<str>,
    /// The kind of bootloader.
    pub boot: Box<str>,
    /// The channel whose manifest was asked for.
    pub channel: Box<str>,
}

/// The first and the last moment of the same facts on one day, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

/// A device, what it told, and when on one day.
pub type Row<'a> = (&'a str, Arc<Facts>, Span);

/// The place of a text or of facts in a list of all.
type Id = u32;

/// A list of all different values, each once.
#[derive(Debug)]
struct Interned<T> {
    ids: HashMap<T, Id>,
    all: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            all: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn id<Q>(&mut self, value: &Q) -> Id
    where
        Q: Hash + hashbrown::Equivalent<T> + ?Sized,
        T: for<'q> From<&'q Q>,
    {
        if let Some(&id) = self.ids.get(value) {
            return id;
        }
        let id = Id::try_from(self.all.len()).unwrap_or(Id::MAX);
        let value = T::from(value);
        self.all.push(value.clone());
        self.ids.insert(value, id);
        id
    }
}

/// What was read, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes, as they lie in files and objects.
    pub bytes: u64,
    /// Lines that name s3ota.
    pub lines: u64,
    /// Of these, those that are sightings or requests without an id.
    pub sightings: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.lines += other.lines;
        self.sightings += other.sightings;
    }
}

/// Sightings, reduced.
#[derive(Debug, Default)]
pub struct Sightings {
    devices: Interned<Box<str>>,
    facts: Interned<Box<str>>,
    spans: HashMap<(Id, Id, u32), Span>,
    anonymous: HashMap<u32, u64>,
    scratch: String,
    /// Sightings after this moment are not counted.
    until: Option<u32>,
    /// What was read.
    pub tally: Tally,
}

impl Sightings {
    /// None yet, and none after a moment.
    pub fn until(moment: Option<u32>) -> Self {
        Self {
            until: moment,
            ..Self::default()
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.spans.len() + self.anonymous.len()
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a request: when it was made, the path of what was asked for, and who asked. Requests of others are ignored.
    pub fn request(&mut self, time: u32, path: &str, user_agent: &str) {
        let Some(agent) = UserAgent::parse(user_agent) else {
            return;
        };
        self.tally.sightings += 1;
        if self.until.is_some_and(|until| time > until) {
            return;
        }
        let Some(device) = agent.device else {
            *self.anonymous.entry(time).or_default() += 1;
            return;
        };
        let mut line = std::mem::take(&mut self.scratch);
        write_facts(&mut line, &agent, channel(path));
        let (device, facts) = (self.devices.id(device), self.facts.id(line.as_str()));
        self.scratch = line;
        let span = Span {
            first: time,
            last: time,
        };
        self.widen(device, facts, span);
    }

    /// Takes a row as it was reduced before.
    pub fn row(&mut self, device: &str, facts: &Facts, span: Span) {
        let Facts {
            state,
            fw,
            last,
            chip,
            boot,
            channel,
        } = facts;
        let line = format!("{state} {fw} {last} {chip} {boot} {channel}");
        let (device, facts) = (self.devices.id(device), self.facts.id(line.as_str()));
        self.widen(device, facts, span);
    }

    /// Takes requests without an id.
    pub fn anonymous(&mut self, time: u32, requests: u64) {
        *self.anonymous.entry(time).or_default() += requests;
    }

    fn widen(&mut self, device: Id, facts: Id, span: Span) {
        let key = (device, facts, span.first / DAY);
        let known = self.spans.entry(key).or_insert(span);
        known.first = known.first.min(span.first);
        known.last = known.last.max(span.last);
    }

    /// Adds what another reader has seen.
    pub fn merge(&mut self, other: Self) {
        let devices: Vec<Id> = ids(&mut self.devices, &other.devices);
        let facts: Vec<Id> = ids(&mut self.facts, &other.facts);
        let known = |ids: &[Id], id: Id| ids.get(id as usize).copied().unwrap_or(Id::MAX);
        for ((device, fact, _), span) in other.spans {
            self.widen(known(&devices, device), known(&facts, fact), span);
        }
        for (time, requests) in other.anonymous {
            self.anonymous(time, requests);
        }
        self.tally.add(other.tally);
    }

    /// The rows, by device and time.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let facts = self.facts.all.iter().map(|line| read_facts(line));
        let facts: Vec<Arc<Facts>> = facts.map(Arc::new).collect();
        let spans = self.spans.iter();
        let mut rows: Vec<Row<'_>> = spans
            .filter_map(|(&(device, fact, _), &span)| {
                let device = self.devices.all.get(device as usize)?;
                Some((&**device, Arc::clone(facts.get(fact as usize)?), span))
            })
            .collect();
        rows.sort_unstable_by(|a, b| (a.0, a.2.first, &a.1).cmp(&(b.0, b.2.first, &b.1)));
        rows
    }

    /// The requests without an id, by time.
    pub fn without_id(&self) -> Vec<(u32, u64)> {
        let mut rows: Vec<_> = self.anonymous.iter().map(|(&at, &n)| (at, n)).collect();
        rows.sort_unstable();
        rows
    }
}

fn ids(known: &mut Interned<Box<str>>, other: &Interned<Box<str>>) -> Vec<Id> {
    other.all.iter().map(|value| known.id(&**value)).collect()
}

/// Facts as one line: no value has a space in it.
fn write_facts(line: &mut String, agent: &UserAgent<'_>, channel: &str) {
    use std::fmt::Write as _;
    line.clear();
    let _ = match agent.state {
        None => Ok(()),
        Some(State::Valid) => line.write_str("valid"),
        Some(State::Trial(None)) => line.write_str("trial"),
        Some(State::Trial(Some(boots))) => write!(line, "trial:{}/{}", boots.boot, boots.of),
        Some(State::Back(version)) => write!(line, "back:{version}"),
        Some(State::Stuck(code)) => write!(line, "stuck:{code}"),
    };
    line.push(' ');
    line.push_str(agent.firmware.unwrap_or_default());
    line.push(' ');
    let _ = match agent.last {
        None => Ok(()),
        Some(Last::Ok { version }) => write!(line, "ok@{version}"),
        Some(Last::Error {
            code,
            version: Some(version),
        }) => write!(line, "{code}@{version}"),
        Some(Last::Error { code, .. }) => line.write_str(code),
    };
    line.push(' ');
    line.push_str(agent.chip.unwrap_or_default());
    line.push(' ');
    line.push_str(agent.bootloader.map_or("", |it| it.name()));
    line.push(' ');
    line.push_str(channel);
}

fn read_facts(line: &str) -> Facts {
    let mut values = line.split(' ').map(Box::from);
    let mut next = || values.next().unwrap_or_default();
    Facts {
        state: next(),
        fw: next(),
        last: next(),
        chip: next(),
        boot: next(),
        channel: next(),
    }
}

/// The channel whose manifest a path names; empty if it names something else.
fn channel(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or_default();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut folders = folder.rsplit('/');
    let (parent, above) = (folders.next(), folders.next());
    // What else is JSON in the bucket is not for devices.
    let is_other = matches!(parent, Some("releases" | "yanked" | "older"))
        || matches!(above, Some("history" | "installer"));
    let name = name.strip_suffix(".json").unwrap_or_default();
    match !is_other && layout::channel_key("", name).is_ok() {
        true => name,
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(requests: &[(u32, &str, &str)]) -> Sightings {
        let mut seen = Sightings::default();
        for &(time, path, agent) in requests {
            seen.request(time, path, agent);
        }
        seen
    }

    fn spans(seen: &Sightings) -> Vec<(String, u32, u32)> {
        let rows = seen.rows().into_iter();
        rows.map(|(device, facts, span)| {
            let text = format!("{device} {} {} {}", facts.state, facts.fw, facts.channel);
            (text, span.first, span.last)
        })
        .collect()
    }

    #[test]
    fn of_the_same_facts_on_a_day_the_first_and_the_last_are_kept() {
        let agent = "s3ota/0.1.0 dev=a fw=1.0.0 state=valid";
        let other = "s3ota/0.1.0 dev=a fw=1.0.0 state=trial:1/3";
        let mut requests = vec![
            (10, "lamp/stable.json", agent),
            (20, "lamp/stable.json", agent),
            (30, "lamp/stable.json", other),
            (40, "lamp/stable.json", agent),
            (DAY + 5, "lamp/stable.json", agent),
            (50, "lamp/stable.json", "curl/8"),
            (60, "lamp/stable.json", "s3ota/0.1.0 fw=1.0.0"),
        ];
        let wanted = [
            ("a valid 1.0.0 stable".to_owned(), 10, 40),
            ("a trial:1/3 1.0.0 stable".to_owned(), 30, 30),
            ("a valid 1.0.0 stable".to_owned(), DAY + 5, DAY + 5),
        ];
        let reduced = seen(&requests);
        assert_eq!(spans(&reduced), wanted);
        assert_eq!(reduced.without_id(), [(60, 1)]);
        requests.reverse();
        requests.extend_from_within(..5);
        assert_eq!(spans(&seen(&requests)), wanted);
    }

    #[test]
    fn what_two_readers_saw_is_what_one_would_have_seen() {
        let requests = [
            (10, "stable.json", "s3ota/1 dev=a fw=1"),
            (20, "stable.json", "s3ota/1 dev=b fw=1"),
            (30, "beta.json", "s3ota/1 dev=a fw=2"),
            (40, "stable.json", "s3ota/1 dev=a fw=1"),
            (50, "stable.json", "s3ota/1 fw=1"),
        ];
        let whole = seen(&requests);
        for cut in 0..=requests.len() {
            let mut first = seen(&requests[..cut]);
            first.merge(seen(&requests[cut..]));
            assert_eq!(first.rows(), whole.rows());
            assert_eq!(first.without_id(), whole.without_id());
            assert_eq!(first.tally, whole.tally);
        }
        // And reduced again, it is the same.
        let mut again = Sightings::default();
        for (device, facts, span) in whole.rows() {
            again.row(device, &facts, span);
        }
        assert_eq!(again.rows(), whole.rows());
    }

    #[test]
    fn a_channel_is_the_name_of_a_manifest() {
        for (path, wanted) in [
            ("lamp/stable.json", "stable"),
            ("/bucket/lamp/beta.json?token=1", "beta"),
            ("stable.json", "stable"),
            ("lamp/releases/1.2.0.json", ""),
            ("lamp/history/stable/7.json", ""),
            ("lamp/images/x.bin", ""),
            ("lamp/.json", ""),
            ("lamp/a b.json", ""),
            ("", ""),
        ] {
            assert_eq!(channel(path), wanted, "{path}");
        }
    }
}

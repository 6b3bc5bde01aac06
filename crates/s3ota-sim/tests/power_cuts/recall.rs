//! What a step of a device did before, it does again.
//!
//! A step, such as a boot or an attempt to update, goes by what it is asked and by what it reads on flash, and by nothing else.
//! So it is run only where it reads something that no step before it has read; otherwise what that one came to, and did to flash,
//! is taken as it was. After most power cuts what is torn is erased soon, and nothing that happens later is new.
//!
//! One of a thousand of the steps that would be taken as they were is run all the same, and must come to the same. A step that
//! reads bits which read either way is always run.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use s3ota::{Error, Outcome, TrialMode};
use s3ota_sim::{Bootloader, Flash, Launcher, Operation, PowerCut};

use crate::contents::{Contents, Digest, SECTOR, Sector};
use crate::life::{Harm, Life, Offer, Running, Step, Stopped};

/// What a device is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ask {
    Boot(Bootloader, Launcher),
    /// Whether the running firmware would launch the new one comes first.
    Update(bool, Running, Offer),
    Decide(Running, Step),
}

/// What it came to.
#[derive(Debug, Clone, PartialEq)]
enum Came {
    Boots(Result<Running, (Harm, String)>),
    Updates(Result<Outcome, Error>),
    Decides(Result<(), (Harm, String)>),
}

/// A step that was run.
#[derive(Debug, PartialEq)]
struct Done {
    came: Came,
    operations: Vec<Rc<Operation>>,
}

/// What follows from what was read so far.
#[derive(Clone)]
enum Next {
    /// This part is read.
    Reads(usize),
    Ends(Rc<Done>),
}

/// How much is remembered before it is forgotten: memory has an end.
const MOST_READS: usize = 2_000_000;
const MOST_SECTORS: usize = 20_000;

/// One of so many steps is run although it is known.
const CHECKED: usize = 1_000;

/// The steps of the devices of one layout and unit of flash.
#[derive(Default)]
pub struct Recall {
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    first: HashMap<Ask, Next>,
    /// The parts that are read.
    parts: Vec<Range<u32>>,
    /// What follows where such a part has these contents.
    next: HashMap<(usize, Digest), Next>,
    /// What steps do, each once.
    operations: HashSet<Rc<Operation>>,
    /// Sectors after an operation.
    sectors: HashMap<(Digest, usize, usize), Rc<Sector>>,
    /// Whole contents, and where a step leads from there.
    whole: HashMap<(Digest, Ask), (Rc<Done>, Contents)>,
    count: Count,
    /// How many steps were known.
    found: usize,
}

/// How many updates there were.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub updates: usize,
    /// Of these, those that were run.
    pub run: usize,
}

impl Recall {
    pub fn take_count(&self) -> Count {
        std::mem::take(&mut self.known.borrow_mut().count)
    }
}

/// A device, from one moment on.
pub struct Device<'r> {
    life: &'r Life,
    recall: &'r Recall,
    contents: Contents,
    /// The flash, where bits of it read either way.
    flaky: Option<Box<Flash>>,
    /// What was done to flash.
    operations: Vec<Rc<Operation>>,
}

impl<'r> Device<'r> {
    /// With these contents of its flash.
    pub fn new(life: &'r Life, recall: &'r Recall, contents: Contents) -> Self {
        Self {
            life,
            recall,
            contents,
            flaky: None,
            operations: Vec::new(),
        }
    }

    /// Where power failed in an operation on these contents, and may have left bits that read either way.
    pub fn torn(
        life: &'r Life,
        recall: &'r Recall,
        before: &Contents,
        operation: &Operation,
        cut: PowerCut,
    ) -> Self {
        let mut flash = life.chip(before.bytes());
        flash.cut_power(cut);
        let _ = flash.repeat(operation);
        flash.restore_power();
        let mut device = Self::new(life, recall, before.clone());
        device.flaky = Some(Box::new(flash));
        device.settle();
        device
    }

    /// What was done to flash.
    pub fn operations(self) -> Vec<Rc<Operation>> {
        self.operations
    }

    pub fn boot(&mut self) -> Result<Running, Stopped> {
        let board = &self.life.board;
        match self.step(Ask::Boot(board.bootloader, board.launcher)) {
            Came::Boots(boots) => boots.map_err(|(harm, what)| Stopped::Broken(harm, what)),
            other => unreachable!("{other:?}"),
        }
    }

    pub fn update(&mut self, running: Running, offer: Offer) -> Result<Outcome, Error> {
        let launches = self.life.board.mode == TrialMode::Launch;
        match self.step(Ask::Update(launches, running, offer)) {
            Came::Updates(outcome) => outcome,
            other => unreachable!("{other:?}"),
        }
    }

    pub fn decide(&mut self, running: Running, step: Step) -> Result<(), Stopped> {
        match self.step(Ask::Decide(running, step)) {
            Came::Decides(decides) => decides.map_err(|(harm, what)| Stopped::Broken(harm, what)),
            other => unreachable!("{other:?}"),
        }
    }

    fn step(&mut self, ask: Ask) -> Came {
        let mut known = self.recall.known.borrow_mut();
        known.count.updates += usize::from(ask.is_update());
        let done = match &mut self.flaky {
            None => {
                let (done, after) = known.step(self.life, ask, &self.contents);
                self.contents = after;
                done
            }
            Some(flash) => {
                let done = known.step_on(self.life, ask, &self.contents, flash);
                self.settle();
                done
            }
        };
        self.operations.extend_from_slice(&done.operations);
        done.came.clone()
    }

    /// Flash is like any other once no bit of it reads either way.
    fn settle(&mut self) {
        if let Some(flash) = &self.flaky {
            let bytes = flash.bytes();
            self.contents = self.contents.with(0..bytes.len() as u32, bytes);
            if flash.is_settled() {
                self.flaky = None;
            }
        }
    }
}

impl Ask {
    fn is_update(&self) -> bool {
        matches!(self, Self::Update(..))
    }

    /// Runs the step.
    fn run(self, life: &Life, flash: &mut Flash) -> Came {
        fn plain<T>(result: Result<T, Stopped>) -> Result<T, (Harm, String)> {
            result.map_err(|stopped| match stopped {
                Stopped::Broken(harm, what) => (harm, what),
                Stopped::NoPower => unreachable!("power holds while a device recovers"),
            })
        }
        match self {
            Self::Boot(..) => Came::Boots(plain(life.boot(flash))),
            Self::Update(_, running, offer) => match plain(life.update(flash, running, offer)) {
                Ok(outcome) => Came::Updates(outcome),
                Err(other) => unreachable!("{other:?}"),
            },
            Self::Decide(running, step) => Came::Decides(plain(life.decide(flash, running, step))),
        }
    }
}

impl Count {
    fn ran(&mut self, ask: Ask) {
        self.run += usize::from(ask.is_update());
    }
}

impl Known {
    /// What a step from these contents comes to, and what they are after it.
    fn step(&mut self, life: &Life, ask: Ask, contents: &Contents) -> (Rc<Done>, Contents) {
        let whole = (contents.digest(), ask);
        let found = match self.whole.get(&whole) {
            Some(found) => Some(found.clone()),
            None => self.find(ask, contents, |_| true).map(|done| {
                let after = self.after(contents, &done.operations);
                (done, after)
            }),
        };
        if let Some(found) = &found
            && !self.is_to_check()
        {
            self.whole.insert(whole, found.clone());
            return found.clone();
        }
        self.forget();
        let mut flash = life.chip(contents.bytes());
        let (done, reads) = self.run(life, ask, &mut flash);
        let after = self.after(contents, &done.operations);
        assert!(
            after.are(flash.bytes()),
            "what {ask:?} did to flash is on record"
        );
        if let Some((before, _)) = found {
            assert_eq!(done, before, "{ask:?} does not go by what it reads");
        }
        self.learn(ask, contents, reads, done.clone());
        self.whole.insert(whole, (done.clone(), after.clone()));
        (done, after)
    }

    /// The same on a flash with these contents of which some bits read either way.
    fn step_on(
        &mut self,
        life: &Life,
        ask: Ask,
        contents: &Contents,
        flash: &mut Flash,
    ) -> Rc<Done> {
        let is_settled = |part: &Range<u32>| flash.is_settled_in(part.clone());
        if let Some(done) = self.find(ask, contents, is_settled) {
            for operation in &done.operations {
                let _ = flash.repeat(operation);
            }
            return done;
        }
        self.forget();
        let unsettled = flash.unsettled();
        let (done, reads) = self.run(life, ask, flash);
        let is_unsettled = |at: &u32| reads.iter().any(|part| part.contains(at));
        if !unsettled.iter().any(is_unsettled) {
            self.learn(ask, contents, reads, done.clone());
        }
        done
    }

    /// Runs a step. What it read is told.
    fn run(&mut self, life: &Life, ask: Ask, flash: &mut Flash) -> (Rc<Done>, Vec<Range<u32>>) {
        self.count.ran(ask);
        flash.record();
        flash.watch_reads();
        let came = ask.run(life, flash);
        let operations = self.intern(flash.take_record());
        let done = Done { came, operations };
        (Rc::new(done), flash.take_reads())
    }

    fn is_to_check(&mut self) -> bool {
        self.found += 1;
        self.found.is_multiple_of(CHECKED)
    }

    /// Forgets, where there is too much to remember.
    fn forget(&mut self) {
        if self.whole.len() > MOST_SECTORS {
            self.whole.clear();
        }
        if self.sectors.len() > MOST_SECTORS {
            self.sectors.clear();
        }
        if self.next.len() > MOST_READS {
            *self = Self {
                count: self.count,
                found: self.found,
                ..Self::default()
            };
        }
    }

    /// The same step from contents in which it reads the same, as far as these can be relied on.
    fn find(
        &self,
        ask: Ask,
        contents: &Contents,
        is_settled: impl Fn(&Range<u32>) -> bool,
    ) -> Option<Rc<Done>> {
        let mut next = self.first.get(&ask)?;
        loop {
            match next {
                Next::Ends(done) => return Some(done.clone()),
                Next::Reads(part) => {
                    let range = &self.parts[*part];
                    if !is_settled(range) {
                        return None;
                    }
                    let digest = contents.part(range);
                    next = self.next.get(&(*part, digest))?;
                }
            }
        }
    }

    /// Remembers a step that has read these parts of the contents.
    fn learn(&mut self, ask: Ask, contents: &Contents, reads: Vec<Range<u32>>, done: Rc<Done>) {
        // As far as the way is known.
        let mut covered: Vec<Range<u32>> = Vec::new();
        let mut last = None;
        let mut next = self.first.get(&ask);
        while let Some(Next::Reads(part)) = next {
            let range = &self.parts[*part];
            let key = (*part, contents.part(range));
            covered.push(range.clone());
            last = Some(key);
            next = self.next.get(&key);
        }
        if next.is_some() {
            return;
        }
        let is_covered = |read: &Range<u32>| {
            let mut parts = covered.iter();
            parts.any(|part| part.start <= read.start && read.end <= part.end)
        };
        let mut link = |last: Option<(usize, Digest)>, next| match last {
            None => drop(self.first.insert(ask, next)),
            Some(key) => drop(self.next.insert(key, next)),
        };
        for read in reads.into_iter().filter(|read| !is_covered(read)) {
            let part = self.parts.len();
            link(last, Next::Reads(part));
            last = Some((part, contents.part(&read)));
            self.parts.push(read);
        }
        link(last, Next::Ends(done));
    }

    /// The contents after these operations.
    fn after(&mut self, contents: &Contents, operations: &[Rc<Operation>]) -> Contents {
        let first = operations.iter().map(|it| it.range().start).min();
        let end = operations.iter().map(|it| it.range().end).max();
        let (Some(first), Some(end)) = (first, end) else {
            return contents.clone();
        };
        contents.changed(first..end, |index, old| {
            let at = (index * SECTOR) as u32;
            let mut sector = old.clone();
            for operation in operations {
                let range = operation.range();
                if range.start < at + SECTOR as u32 && at < range.end {
                    let key = (sector.digest(), index, Rc::as_ptr(operation).addr());
                    let after = self.sectors.entry(key);
                    sector = after.or_insert_with(|| sector.after(at, operation)).clone();
                }
            }
            sector
        })
    }

    fn intern(&mut self, operations: Vec<Operation>) -> Vec<Rc<Operation>> {
        let mut each = Vec::with_capacity(operations.len());
        for operation in operations {
            each.push(match self.operations.get(&operation) {
                Some(known) => known.clone(),
                None => {
                    let new = Rc::new(operation);
                    self.operations.insert(new.clone());
                    new
                }
            });
        }
        each
    }
}

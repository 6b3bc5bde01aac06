//! The most stack that a firmware's main task takes, counted from its machine code.
//!
//! The frame of every function and its calls are read from the instructions ([`riscv`]). The peak is the longest path through the
//! calls, by the sum of its frames. It is a bound for code that calls by name, and this is what it leaves out:
//!
//! - A call through a pointer (`dyn`, `fn`) is followed to each function that [`POINTERS`] lists for its caller, and otherwise not
//!   at all: wakers, whose functions take 32 bytes, and the radio's libraries, which call through tables of their own. A path passes
//!   through at most [`MAX_POINTERS`] pointers, because values format each other.
//! - An async function's `poll` is called by name, like any other function. Only the executor polls its tasks through a pointer.
//! - Recursion counts as often as [`RECURSIONS`] says. Other recursion is an error.
//! - A panic is not counted: it ends what the stack was for. Neither are interrupts and what is in the chip's ROM. They have the
//!   [`RESERVE`].

mod riscv;

use std::collections::{BTreeMap, HashMap, HashSet};

use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use rustc_demangle::demangle;

use crate::Result;
use riscv::Traits;

/// What must be left of the stack at its deepest, for interrupts, panics and the chip's ROM.
pub const RESERVE: u64 = 8 * 1024;

/// Who calls whom through a pointer: a part of the callers' names, and one of those that they call.
const POINTERS: [(&str, &str); 8] = [
    (
        "esp_rtos::embassy::Executor>::run_inner",
        "embassy_executor::raw::TaskStorage<",
    ),
    // All that webpki is given are verdicts on signatures that were verified before: see s3ota-tls's `search.rs`.
    ("webpki::signed_data::", RECALL),
    ("<s3ota_tls::search::Verdicts>::verify", VERIFY),
    ("s3ota_tls::rsa::", " as digest::digest::DynDigest>::"),
    ("s3ota", " as s3ota::hooks::Hooks>::"),
    ("core::fmt::", " as core::fmt::"),
    ("log::", " as log::Log>::"),
    ("::waker", "embassy_executor::raw::waker::"),
];
const RECALL: &str =
    "s3ota_tls::search::Recalled as rustls_pki_types::SignatureVerificationAlgorithm>::";
const VERIFY: &str = " as rustls_pki_types::SignatureVerificationAlgorithm>::verify_signature";

/// The most pointers on a path: task, logger, writer, and values in values.
const MAX_POINTERS: usize = 6;

/// The functions that build a path of certificates call themselves once for each certificate.
const CHAIN: &str = "webpki::verify_cert::ChainOptions";

/// Other functions that call themselves, by a part of their names, and how deep.
const RECURSIONS: [(&str, u32); 3] = [
    // For the empty piece at the end of a text.
    ("core::str::iter::SplitInternal", 2),
    // The printf of the radio's libraries: these two call each other, for numbers out of range.
    ("_etoa", 2),
    ("_ftoa", 2),
];

/// Where a path ends because the program does.
const ENDS: [&str; 3] = [
    "rust_begin_unwind",
    "core::panicking::",
    "core::str::slice_error_fail",
];

/// A function, and how many more pointers a path through it may take.
type Node = (usize, usize);

struct Function {
    name: String,
    traits: Traits,
    /// Those it calls by name, and whether it has given up its frame then.
    calls: Vec<(usize, bool)>,
    /// Those it calls through a pointer.
    pointees: Vec<usize>,
}

/// The functions of a firmware.
pub struct Program {
    functions: Vec<Function>,
    entry: usize,
    /// Bytes that the linker has left for the stack.
    pub room: u64,
}

/// The deepest path.
pub struct Peak {
    /// Bytes of all its frames.
    pub bytes: u64,
    /// Its functions with their frames, from the entry on.
    pub path: Vec<(String, u32)>,
}

impl Program {
    /// Reads an ELF file for RISC-V.
    pub fn of(elf: &[u8]) -> Result<Self> {
        let broken = |error| format!("the ELF file: {error}");
        let file = object::File::parse(elf).map_err(broken)?;
        let symbol = |name: &str| {
            let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
            let found = found.ok_or_else(|| format!("no symbol is called {name}"))?;
            Ok::<_, String>(found.address())
        };
        let spans = spans(&file);
        let mut functions = Vec::new();
        let mut index = HashMap::new();
        for section in file.sections() {
            if section.kind() != SectionKind::Text {
                continue;
            }
            let (start, data) = (section.address(), section.data().map_err(broken)?);
            for (&address, (name, length)) in spans.range(start..start + section.size()) {
                let from = (address - start) as usize;
                let code = data.get(from..from + *length as usize);
                index.insert(address as u32, functions.len());
                functions.push(Function {
                    name: name.clone(),
                    traits: riscv::read(address as u32, code.unwrap_or_default()),
                    calls: Vec::new(),
                    pointees: Vec::new(),
                });
            }
        }
        link(&mut functions, &index);
        let entry = index.get(&(symbol("main")? as u32));
        Ok(Self {
            functions,
            entry: *entry.ok_or("main is no function")?,
            room: symbol("_stack_start")?.saturating_sub(symbol("_stack_end")?),
        })
    }

    /// The deepest path, with chains of so many certificates.
    pub fn peak(&self, certificates: u32) -> Result<Peak> {
        let mut search = Search {
            program: self,
            certificates,
            known: HashMap::new(),
            open: HashSet::new(),
        };
        let mut at = Some((self.entry, MAX_POINTERS));
        let bytes = search.deepest((self.entry, MAX_POINTERS))?;
        let mut path = Vec::new();
        while let Some(node) = at {
            let function = &self.functions[node.0];
            path.push((function.name.clone(), function.traits.frame));
            at = search.known.get(&node).and_then(|(_, next)| *next);
        }
        Ok(Peak { bytes, path })
    }
}

/// Finds for each function those that it calls.
fn link(functions: &mut [Function], index: &HashMap<u32, usize>) {
    let names: Vec<String> = functions
        .iter()
        .map(|function| function.name.clone())
        .collect();
    for function in functions {
        let calls = function.traits.calls.iter();
        function.calls = calls
            .filter_map(|call| index.get(&call.to).map(|&to| (to, call.is_tail)))
            .collect();
        if function.traits.pointers == 0 {
            continue;
        }
        let is_callee = |name: &str| {
            POINTERS
                .iter()
                .any(|(caller, callee)| function.name.contains(caller) && name.contains(callee))
        };
        function.pointees = (0..names.len())
            .filter(|&to| is_callee(&names[to]))
            .collect();
    }
}

/// The functions by address: name and length. The linker has folded those that share one.
fn spans(file: &object::File<'_>) -> BTreeMap<u64, (String, u64)> {
    let mut spans = BTreeMap::<u64, (String, u64)>::new();
    for symbol in file.symbols() {
        let (Ok(name), SymbolKind::Text) = (symbol.name(), symbol.kind()) else {
            continue;
        };
        let (names, length) = spans.entry(symbol.address()).or_default();
        if !names.is_empty() {
            names.push_str(" = ");
        }
        names.push_str(&format!("{:#}", demangle(name)));
        *length = (*length).max(symbol.size());
    }
    spans
}

struct Search<'p> {
    program: &'p Program,
    certificates: u32,
    /// The stack from a node on, and the next node of that path.
    known: HashMap<Node, (u64, Option<Node>)>,
    /// The nodes of the path that is being walked.
    open: HashSet<Node>,
}

impl Search<'_> {
    fn deepest(&mut self, node: Node) -> Result<u64> {
        if let Some((bytes, _)) = self.known.get(&node) {
            return Ok(*bytes);
        }
        let (at, pointers) = node;
        let function = &self.program.functions[at];
        if ENDS.iter().any(|end| function.name.contains(end)) {
            return Ok(0);
        }
        if function.traits.unbounded {
            return Err(format!("{} takes stack by a variable", function.name));
        }
        let times = self.times(&function.name);
        let frame = u64::from(function.traits.frame);
        let mut deepest = (frame * u64::from(times), None);
        self.open.insert(node);
        let by_name = function
            .calls
            .iter()
            .map(|&(to, is_tail)| ((to, pointers), is_tail));
        let fewer = pointers.checked_sub(1);
        let by_pointer = function
            .pointees
            .iter()
            .filter_map(|&to| Some(((to, fewer?), false)));
        for (next, is_tail) in by_name.chain(by_pointer) {
            if self.open.contains(&next) {
                let name = &self.program.functions[next.0].name;
                if self.times(name) == 1 {
                    return Err(format!("{name} calls itself: say how often in stack.rs"));
                }
                continue;
            }
            let kept = u64::from(times - u32::from(is_tail)) * frame;
            let bytes = kept + self.deepest(next)?;
            if bytes > deepest.0 {
                deepest = (bytes, Some(next));
            }
        }
        self.open.remove(&node);
        self.known.insert(node, deepest);
        Ok(deepest.0)
    }

    /// How often a function may be on a path, one call below the other.
    fn times(&self, name: &str) -> u32 {
        if name.contains(CHAIN) {
            return self.certificates;
        }
        let mut recursions = RECURSIONS.iter();
        let found = recursions.find(|(part, _)| name.contains(part));
        found.map_or(1, |&(_, times)| times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of functions with these names, frames, calls by name, and a call through a pointer or not. The first is the
    /// entry.
    fn program(functions: &[(&str, u32, &[usize], bool)]) -> Program {
        let address = |index: usize| index as u32 * 4;
        let mut made: Vec<_> = functions
            .iter()
            .map(|&(name, frame, calls, pointer)| Function {
                name: name.to_owned(),
                traits: Traits {
                    frame,
                    calls: calls
                        .iter()
                        .map(|&to| riscv::Call {
                            to: address(to),
                            is_tail: false,
                        })
                        .collect(),
                    pointers: u32::from(pointer),
                    unbounded: false,
                },
                calls: Vec::new(),
                pointees: Vec::new(),
            })
            .collect();
        let index = (0..made.len()).map(|at| (address(at), at)).collect();
        link(&mut made, &index);
        Program {
            functions: made,
            entry: 0,
            room: 0,
        }
    }

    fn peak(functions: &[(&str, u32, &[usize], bool)], certificates: u32) -> Result<u64> {
        program(functions).peak(certificates).map(|peak| peak.bytes)
    }

    #[test]
    fn the_peak_is_the_path_with_the_largest_frames_not_the_longest() {
        let functions: [(_, _, &[usize], _); 4] = [
            ("main", 16, &[1, 3], false),
            ("a", 32, &[2], false),
            ("b", 32, &[], false),
            ("c", 100, &[], false),
        ];
        let peak = program(&functions)
            .peak(1)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(peak.bytes, 116);
        assert_eq!(peak.path, [("main".to_owned(), 16), ("c".to_owned(), 100)]);
    }

    #[test]
    fn a_call_through_a_pointer_reaches_all_that_it_may() {
        let small = "<A as log::Log>::log";
        let large = "<B as log::Log>::log";
        let mut functions: [(_, _, &[usize], _); 3] = [
            ("log::info", 16, &[], true),
            (small, 32, &[], false),
            (large, 64, &[], false),
        ];
        assert_eq!(peak(&functions, 1), Ok(80));
        functions[0].3 = false;
        assert_eq!(peak(&functions, 1), Ok(16));
    }

    #[test]
    fn recursion_counts_as_often_as_it_happens_and_must_be_known() {
        let chain = format!("<{CHAIN}>::build_chain_inner");
        let functions: [(_, _, &[usize], _); 2] = [
            (chain.as_str(), 100, &[0, 1], false),
            ("verify", 10, &[], false),
        ];
        assert_eq!(
            peak(&functions, 1),
            Err(format!("{chain} calls itself: say how often in stack.rs"))
        );
        assert_eq!(peak(&functions, 2), Ok(210));
        assert_eq!(peak(&functions, 6), Ok(610));
        let around: [(_, _, &[usize], _); 2] = [("main", 100, &[1], false), ("b", 10, &[0], false)];
        assert!(peak(&around, 1).is_err_and(|error| error.contains("main calls itself")));
    }

    #[test]
    fn a_panic_ends_a_path() {
        let functions: [(_, _, &[usize], _); 3] = [
            ("main", 16, &[1], false),
            ("core::panicking::panic", 32, &[2], false),
            ("x", 64, &[], false),
        ];
        assert_eq!(peak(&functions, 1), Ok(16));
    }
}

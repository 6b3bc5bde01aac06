//! Logs made of lines, in any of their formats, as a whole or in pieces.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::LazyLock;

use memchr::{memchr, memmem, memrchr};

use super::{events, s3, time};
use crate::sightings::{PRODUCT, Sightings};

/// A longer line is nobody's: S3's are at most some kilobytes.
const MAX_LINE: usize = 1 << 20;

/// How much is read at a time.
const PIECE: usize = 1 << 18;

static DEVICE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(PRODUCT));

/// How lines are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Amazon S3's.
    S3,
    /// CloudFront's text, with tabs between these columns.
    CloudFront(Columns),
    /// An object of JSON in each line.
    Json,
}

/// Where in a line of CloudFront's text the columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    date: usize,
    time: usize,
    path: usize,
    agent: usize,
}

impl Default for Columns {
    /// As CloudFront writes them if nobody has chosen others.
    fn default() -> Self {
        Self {
            date: 0,
            time: 1,
            path: 7,
            agent: 10,
        }
    }
}

impl Columns {
    /// By the line that names them: `#Fields: date time …`.
    fn named(line: &str) -> Option<Self> {
        let names: Vec<&str> = line.strip_prefix("#Fields:")?.split_whitespace().collect();
        let at = |name: &str| names.iter().position(|it| *it == name);
        Some(Self {
            date: at("date")?,
            time: at("time")?,
            path: at("cs-uri-stem")?,
            agent: at("cs(User-Agent)")?,
        })
    }
}

impl Format {
    /// By the first bytes of a file.
    pub fn of(start: &[u8]) -> Self {
        match start.first() {
            Some(b'{') => Self::Json,
            Some(b'#') => {
                let start = String::from_utf8_lossy(start);
                let named = start.lines().find_map(Columns::named);
                Self::CloudFront(named.unwrap_or_default())
            }
            _ if start.starts_with(b"date\ttime\t") => Self::CloudFront(Columns::default()),
            _ => Self::S3,
        }
    }

    /// Reads whole lines. Those that do not name s3ota cost next to nothing.
    pub fn lines(&self, text: &[u8], into: &mut Sightings) {
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|rest| DEVICE.find(rest)) {
            let at = from + found;
            let start = memrchr(b'\n', text.get(..at).unwrap_or_default()).map_or(0, |it| it + 1);
            let rest = text.get(at..).unwrap_or_default();
            let end = memchr(b'\n', rest).map_or(text.len(), |it| at + it);
            let line = text.get(start..end).unwrap_or_default();
            into.tally.lines += 1;
            self.line(line.strip_suffix(b"\r").unwrap_or(line), into);
            from = end;
        }
    }

    fn line(&self, line: &[u8], into: &mut Sightings) {
        match self {
            Self::S3 => {
                if let Some(line) = s3::line(line)
                    && let (Ok(key), Ok(agent)) = (
                        std::str::from_utf8(line.key),
                        std::str::from_utf8(line.agent),
                    )
                {
                    into.request(line.time, key, agent);
                }
            }
            Self::CloudFront(columns) => {
                let _ = cloudfront_line(*columns, line, into);
            }
            Self::Json => events::line(line, into),
        }
    }
}

fn cloudfront_line(columns: Columns, line: &[u8], into: &mut Sightings) -> Option<()> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    let field = |at: usize| fields.get(at).copied();
    // A line that is cut in its User-Agent looks like a whole one, with half a version at its end.
    field(columns.agent + 1)?;
    let time = time::date_and_clock(field(columns.date)?, field(columns.time)?)?;
    let path = std::str::from_utf8(field(columns.path)?).ok()?;
    let agent = decoded(std::str::from_utf8(field(columns.agent)?).ok()?);
    into.request(time, path, &agent);
    Some(())
}

/// A User-Agent as CloudFront writes it: its spaces, and what else needs it, encoded as in a URL. Older logs encode twice.
pub fn decoded(text: &str) -> String {
    let once = percent_decoded(text);
    if once.contains("%20") && !once.contains(' ') {
        percent_decoded(&once)
    } else {
        once
    }
}

fn percent_decoded(text: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(text);
    decoded.decode_utf8_lossy().into_owned()
}

/// Reads a stream of lines to its end. Returns how many bytes it had, and how many up to the end of its last whole line.
///
/// # Errors
///
/// Those of the stream.
pub fn stream(input: impl Read, into: &mut Sightings) -> io::Result<(u64, u64)> {
    let mut input = BufReader::with_capacity(PIECE, input);
    let format = Format::of(input.fill_buf()?);
    let mut lines = Lines::new(format);
    loop {
        let piece = input.fill_buf()?;
        if piece.is_empty() {
            return Ok(lines.end(into));
        }
        let length = piece.len();
        lines.push(piece, into);
        input.consume(length);
    }
}

/// Lines that arrive in pieces.
#[derive(Debug)]
struct Lines {
    format: Format,
    /// The line that is not whole yet.
    begun: Vec<u8>,
    /// Whether it is too long to be one, and its rest is skipped.
    skips: bool,
    read: u64,
    whole: u64,
}

impl Lines {
    fn new(format: Format) -> Self {
        Self {
            format,
            begun: Vec::new(),
            skips: false,
            read: 0,
            whole: 0,
        }
    }

    fn push(&mut self, piece: &[u8], into: &mut Sightings) {
        let before = self.read;
        self.read += piece.len() as u64;
        let Some(first) = memchr(b'\n', piece) else {
            return self.keep(piece);
        };
        let last = memrchr(b'\n', piece).unwrap_or(first);
        self.keep(piece.get(..first).unwrap_or_default());
        if !self.skips {
            self.format.lines(&self.begun, into);
        }
        self.begun.clear();
        self.skips = false;
        self.format
            .lines(piece.get(first..last).unwrap_or_default(), into);
        self.keep(piece.get(last + 1..).unwrap_or_default());
        self.whole = before + last as u64 + 1;
    }

    fn keep(&mut self, part: &[u8]) {
        if self.begun.len() + part.len() > MAX_LINE {
            self.begun.clear();
            self.skips = true;
        }
        if !self.skips {
            self.begun.extend_from_slice(part);
        }
    }

    /// The last line may lack its end: it counts if all of it is there that matters.
    fn end(self, into: &mut Sightings) -> (u64, u64) {
        if !self.skips {
            self.format.lines(&self.begun, into);
        }
        (self.read, self.whole)
    }
}

/// Reads the lines that begin in a part of a file: from `from` on, and before `to`. Returns where the last whole line ends.
///
/// # Errors
///
/// Those of the file.
pub fn part<F: Read + io::Seek>(
    file: &mut F,
    format: &Format,
    from: u64,
    to: u64,
    into: &mut Sightings,
) -> io::Result<u64> {
    // A line begins behind the end of another one, which may be the byte before.
    let start = from.saturating_sub(1);
    file.seek(io::SeekFrom::Start(start))?;
    let mut text = Vec::new();
    let wanted = to.saturating_sub(start);
    file.by_ref().take(wanted).read_to_end(&mut text)?;
    // The last line ends behind the part.
    let mut end = text.len();
    while text.last() != Some(&b'\n') && text.len() - end < MAX_LINE {
        let seen = text.len();
        file.by_ref().take(1 << 12).read_to_end(&mut text)?;
        if text.len() == seen {
            break;
        }
        if let Some(newline) = memchr(b'\n', text.get(seen..).unwrap_or_default()) {
            text.truncate(seen + newline + 1);
            break;
        }
    }
    end = text.len();
    let first = match from {
        0 => 0,
        _ => memchr(b'\n', &text).map_or(end, |newline| newline + 1),
    };
    format.lines(text.get(first..end).unwrap_or_default(), into);
    let whole = memrchr(b'\n', &text).map_or(0, |newline| newline as u64 + 1);
    Ok((start + whole).max(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn log(lines: u32) -> String {
        let line = |n: u32| {
            format!(
                "owner bucket [20/Nov/2026:08:{:02}:{:02} +0000] 192.0.2.3 - ID{n} REST.GET.OBJECT lamp/stable.json \
                 \"GET /lamp/stable.json HTTP/1.1\" 200 - 512 512 7 6 \"-\" \"s3ota/0.1.0 dev=d{n} fw=1.0.{n} state=valid\" - h - - - b TLSv1.3\n",
                n / 60,
                n % 60
            )
        };
        (0..lines).map(line).collect()
    }

    #[test]
    fn lines_in_pieces_are_the_same_lines() {
        let text = log(20);
        let mut whole = Sightings::default();
        assert_eq!(
            stream(text.as_bytes(), &mut whole).unwrap(),
            (text.len() as u64, text.len() as u64)
        );
        assert_eq!(whole.len(), 20);
        for size in [1, 7, 100, 300, 1000, text.len()] {
            let mut lines = Lines::new(Format::S3);
            let mut seen = Sightings::default();
            for piece in text.as_bytes().chunks(size) {
                lines.push(piece, &mut seen);
            }
            let torn = text.len() as u64;
            assert_eq!(lines.end(&mut seen), (torn, torn), "{size}");
            assert_eq!(seen.rows(), whole.rows(), "{size}");
        }
    }

    #[test]
    fn the_parts_of_a_file_have_each_line_once() {
        let text = log(30);
        let mut whole = Sightings::default();
        stream(text.as_bytes(), &mut whole).unwrap();
        for size in [10, 199, 200, 1000, 5000, 100_000] {
            let mut seen = Sightings::default();
            let mut from = 0;
            let mut end = 0;
            while from < text.len() as u64 {
                let to = from + size;
                let mut file = Cursor::new(text.as_bytes());
                end = part(&mut file, &Format::S3, from, to, &mut seen).unwrap();
                from = to;
            }
            assert_eq!(end, text.len() as u64, "{size}");
            assert_eq!(seen.rows(), whole.rows(), "{size}");
            assert_eq!(seen.tally.lines, 30, "{size}");
        }
    }

    #[test]
    fn what_is_cut_off_is_read_when_it_has_come() {
        let text = log(3);
        let cut = text.len() - 120;
        let mut seen = Sightings::default();
        let mut file = Cursor::new(&text.as_bytes()[..cut]);
        let end = part(&mut file, &Format::S3, 0, cut as u64, &mut seen).unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(end, log(2).len() as u64);
        let mut file = Cursor::new(text.as_bytes());
        let end = part(&mut file, &Format::S3, end, text.len() as u64, &mut seen).unwrap();
        assert_eq!((seen.len(), end), (3, text.len() as u64));
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory() {
        let mut lines = Lines::new(Format::S3);
        let mut seen = Sightings::default();
        for _ in 0..64 {
            lines.push(&vec![b'x'; PIECE], &mut seen);
            assert!(lines.begun.len() <= MAX_LINE);
        }
        lines.push(b"\n", &mut seen);
        lines.push(log(2).as_bytes(), &mut seen);
        lines.end(&mut seen);
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn cloudfront_names_its_columns() {
        let text = "#Version: 1.0\n#Fields: date time cs(User-Agent) x-edge-location cs-uri-stem sc-status\n\
            2026-11-20\t08:15:00\ts3ota/0.1.0%20dev=a%20fw=1.0.0\tFRA\t/lamp/stable.json\t200\n\
            2026-11-20\t08:16:00\ts3ota/0.1.0%2520dev=b%2520fw=1.0.0\tFRA\t/lamp/stable.json\t200\n\
            2026-11-20\t08:17:00\ts3ota/0.1.0%20dev=c%20fw=1";
        let mut seen = Sightings::default();
        stream(text.as_bytes(), &mut seen).unwrap();
        let devices: Vec<_> = seen.rows().iter().map(|row| row.0.to_owned()).collect();
        assert_eq!(devices, ["a", "b"]);
        assert_eq!(&*seen.rows()[0].1.channel, "stable");
    }
}

//! A strict JSON reader (RFC 8259) that needs no memory of its own.
//!
//! It is a pull parser: [`Reader::next`] returns one [`Token`] after the other. It does not recurse and
//! does not allocate. Strings are unescaped in place: an unescaped string is never longer than its
//! source.
//!
//! Positions are added without overflow checks: a document has at most [`MAX_DOCUMENT`] bytes, and each
//! step is a few bytes.

use core::mem;

use crate::ManifestError;
use crate::manifest::MAX_DOCUMENT;

/// How deep objects and arrays may be nested in a manifest, the manifest itself being the first level.
pub const MAX_DEPTH: usize = 16;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One step through a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    /// The name of a member; its value follows.
    Key(&'a str),
    String(&'a str),
    /// The text of a number, by RFC 8259's grammar.
    Number(&'a str),
    Bool(bool),
    Null,
    /// The document is complete, and nothing follows it.
    End,
}

/// Reads a document token by token.
pub(crate) struct Reader<'a> {
    /// What is left to read. Strings are split off its front, so they outlive the reader.
    rest: &'a mut [u8],
    /// Where `rest` begins in the document.
    at: usize,
    /// The containers that are open.
    open: Containers,
    /// What the grammar allows next.
    next: Next,
}

#[derive(Clone, Copy)]
enum Next {
    Value,
    FirstKeyOrEnd,
    FirstElementOrEnd,
    CommaOrEnd,
}

impl<'a> Reader<'a> {
    /// Starts a document: at most [`MAX_DOCUMENT`] bytes of UTF-8.
    pub(crate) fn new(document: &'a mut [u8]) -> Result<Self, ManifestError> {
        if document.len() > MAX_DOCUMENT {
            return Err(ManifestError::TooLarge);
        }
        if document.starts_with(BYTE_ORDER_MARK) {
            return Err(ManifestError::ByteOrderMark);
        }
        if let Err(error) = core::str::from_utf8(document) {
            return Err(match error.error_len() {
                Some(_) => ManifestError::Utf8 {
                    at: error.valid_up_to(),
                },
                None => ManifestError::Truncated,
            });
        }
        Ok(Reader {
            rest: document,
            at: 0,
            open: Containers::default(),
            next: Next::Value,
        })
    }

    /// Reads the next token.
    pub(crate) fn next(&mut self) -> Result<Token<'a>, ManifestError> {
        self.skip_white_space();
        match self.next {
            Next::Value => self.value(),
            Next::FirstKeyOrEnd => match self.peek() {
                Some(b'}') => self.close(Token::ObjectEnd),
                _ => self.key("`\"` or `}`"),
            },
            Next::FirstElementOrEnd => match self.peek() {
                Some(b']') => self.close(Token::ArrayEnd),
                _ => self.value(),
            },
            Next::CommaOrEnd => match (self.open.innermost(), self.peek()) {
                (None, None) => Ok(Token::End),
                (None, Some(_)) => Err(ManifestError::TrailingGarbage { at: self.at }),
                (Some(Container::Object), Some(b',')) => {
                    self.skip(1);
                    self.skip_white_space();
                    self.key("`\"`")
                }
                (Some(Container::Object), Some(b'}')) => self.close(Token::ObjectEnd),
                (Some(Container::Object), _) => Err(self.expected("`,` or `}`")),
                (Some(Container::Array), Some(b',')) => {
                    self.skip(1);
                    self.skip_white_space();
                    self.value()
                }
                (Some(Container::Array), Some(b']')) => self.close(Token::ArrayEnd),
                (Some(Container::Array), _) => Err(self.expected("`,` or `]`")),
            },
        }
    }

    /// Reads past one value of any shape.
    pub(crate) fn skip_value(&mut self) -> Result<(), ManifestError> {
        let depth = self.open.depth;
        loop {
            self.next()?;
            if self.open.depth <= depth && matches!(self.next, Next::CommaOrEnd) {
                return Ok(());
            }
        }
    }

    /// Reads past what is left of the value that begins with this token.
    #[cfg(feature = "delta")]
    pub(crate) fn skip_rest(&mut self, first: Token<'a>) -> Result<(), ManifestError> {
        if let Token::ObjectStart | Token::ArrayStart = first {
            let depth = self.open.depth;
            while self.open.depth >= depth {
                self.next()?;
            }
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Token<'a>, ManifestError> {
        let token = match self.peek() {
            Some(b'{') => return self.open(Container::Object),
            Some(b'[') => return self.open(Container::Array),
            Some(b'"') => Token::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Token::Number(self.number()?),
            Some(b't') => self.literal("true", Token::Bool(true))?,
            Some(b'f') => self.literal("false", Token::Bool(false))?,
            Some(b'n') => self.literal("null", Token::Null)?,
            _ => return Err(self.expected("a JSON value")),
        };
        self.next = Next::CommaOrEnd;
        Ok(token)
    }

    fn key(&mut self, expected: &'static str) -> Result<Token<'a>, ManifestError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected(expected));
        }
        let key = self.string()?;
        self.skip_white_space();
        if self.peek() != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.skip(1);
        self.next = Next::Value;
        Ok(Token::Key(key))
    }

    fn open(&mut self, container: Container) -> Result<Token<'a>, ManifestError> {
        if !self.open.push(container) {
            return Err(ManifestError::TooDeep { at: self.at });
        }
        self.skip(1);
        let (token, next) = match container {
            Container::Object => (Token::ObjectStart, Next::FirstKeyOrEnd),
            Container::Array => (Token::ArrayStart, Next::FirstElementOrEnd),
        };
        self.next = next;
        Ok(token)
    }

    fn close(&mut self, token: Token<'a>) -> Result<Token<'a>, ManifestError> {
        self.skip(1);
        self.open.pop();
        self.next = Next::CommaOrEnd;
        Ok(token)
    }

    fn literal(
        &mut self,
        text: &'static str,
        token: Token<'a>,
    ) -> Result<Token<'a>, ManifestError> {
        for expected in text.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.expected(text));
            }
            self.skip(1);
        }
        Ok(token)
    }

    fn number(&mut self) -> Result<&'a str, ManifestError> {
        let length = number_length(self.rest).map_err(|length| {
            self.skip(length);
            self.expected("a digit")
        })?;
        self.take(length, 0, length)
    }

    /// Reads a string; `rest` begins with its opening quote.
    fn string(&mut self) -> Result<&'a str, ManifestError> {
        let mut read: usize = 1;
        let mut written: usize = 1;
        loop {
            match self.rest.get(read) {
                None => return Err(ManifestError::Truncated),
                Some(b'"') => break,
                Some(b'\\') => {
                    let (character, length) = self.escape(read)?;
                    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                        self.write(written, byte);
                        written += 1;
                    }
                    read += length;
                }
                Some(0..0x20) => {
                    self.skip(read);
                    return Err(self.expected("control characters to be escaped in strings"));
                }
                Some(&byte) => {
                    self.write(written, byte);
                    written += 1;
                    read += 1;
                }
            }
        }
        self.take(read + 1, 1, written)
    }

    /// The character that an escape at `start` stands for, and the escape's length.
    fn escape(&mut self, start: usize) -> Result<(char, usize), ManifestError> {
        let simple = match self.rest.get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let (mut length, mut code) = (6, self.hex4(start + 2)?);
                // Characters beyond U+FFFF are written as two surrogates (RFC 8259, section 7).
                if (0xD800..0xDC00).contains(&code)
                    && self.rest.get(start + 6..start + 8) == Some(br"\u")
                {
                    let low = self.hex4(start + 8)?;
                    if (0xDC00..0xE000).contains(&low) {
                        code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                        length = 12;
                    }
                }
                // What is still a surrogate here stands alone and is not a character.
                return match char::from_u32(code) {
                    Some(character) => Ok((character, length)),
                    None => {
                        self.skip(start);
                        Err(self.expected("surrogates in pairs"))
                    }
                };
            }
            other => {
                let ended = other.is_none();
                self.skip(start);
                return Err(if ended {
                    ManifestError::Truncated
                } else {
                    self.expected(r#"one of the escapes \" \\ \/ \b \f \n \r \t \u"#)
                });
            }
        };
        Ok((simple, 2))
    }

    fn hex4(&mut self, start: usize) -> Result<u32, ManifestError> {
        (start..start + 4).try_fold(0, |code, at| {
            match self.rest.get(at).map(|&byte| char::from(byte).to_digit(16)) {
                Some(Some(digit)) => Ok(code << 4 | digit),
                Some(None) => {
                    self.skip(at);
                    Err(self.expected("four hex digits after `\\u`"))
                }
                None => Err(ManifestError::Truncated),
            }
        })
    }

    fn write(&mut self, at: usize, byte: u8) {
        if let Some(slot) = self.rest.get_mut(at) {
            *slot = byte;
        }
    }

    /// Splits `length` bytes off the front, and returns the text from `start` to `end` of them.
    fn take(&mut self, length: usize, start: usize, end: usize) -> Result<&'a str, ManifestError> {
        let at = self.at;
        let (taken, rest) = mem::take(&mut self.rest)
            .split_at_mut_checked(length)
            .ok_or(ManifestError::Truncated)?;
        self.rest = rest;
        self.at += length;
        let text: &'a [u8] = taken;
        text.get(start..end)
            .and_then(|text| core::str::from_utf8(text).ok())
            .ok_or(ManifestError::Utf8 { at })
    }

    fn skip(&mut self, length: usize) {
        let length = length.min(self.rest.len());
        self.rest = mem::take(&mut self.rest)
            .get_mut(length..)
            .unwrap_or_default();
        self.at += length;
    }

    fn skip_white_space(&mut self) {
        let length = self
            .rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        self.skip(length);
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The error if what comes next is not what was expected, or nothing comes.
    fn expected(&self, expected: &'static str) -> ManifestError {
        match self.peek() {
            Some(_) => ManifestError::Syntax {
                at: self.at,
                expected,
            },
            None => ManifestError::Truncated,
        }
    }
}

/// The length of the number at the start of the text (RFC 8259, section 6), or where a digit is missing.
pub(crate) fn number_length(text: &[u8]) -> Result<usize, usize> {
    let byte = |at: usize| text.get(at).copied();
    let digits = |start: usize| {
        let length = text
            .iter()
            .skip(start)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if length == 0 {
            Err(start)
        } else {
            Ok(start + length)
        }
    };

    let mut at = usize::from(byte(0) == Some(b'-'));
    at = match byte(at) {
        Some(b'0') => at + 1,
        _ => digits(at)?,
    };
    if byte(at) == Some(b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = byte(at) {
        let sign = usize::from(matches!(byte(at + 1), Some(b'+' | b'-')));
        at = digits(at + 1 + sign)?;
    }
    Ok(at)
}

#[derive(Clone, Copy)]
enum Container {
    Object,
    Array,
}

/// The open containers, innermost last: one bit each, set for an object.
#[derive(Default)]
struct Containers {
    objects: u32,
    depth: usize,
}

impl Containers {
    /// False if the limit is reached.
    fn push(&mut self, container: Container) -> bool {
        if self.depth == MAX_DEPTH {
            return false;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u32::from(matches!(container, Container::Object));
        true
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    fn innermost(&self) -> Option<Container> {
        match (self.depth, self.objects & 1) {
            (0, _) => None,
            (_, 0) => Some(Container::Array),
            _ => Some(Container::Object),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    /// All tokens of a document, in words.
    fn read(document: &[u8]) -> Result<String, ManifestError> {
        let mut document = document.to_vec();
        let mut reader = Reader::new(&mut document)?;
        let mut words = Vec::new();
        loop {
            words.push(match reader.next()? {
                Token::End => return Ok(words.join(" ")),
                Token::ObjectStart => "{".into(),
                Token::ObjectEnd => "}".into(),
                Token::ArrayStart => "[".into(),
                Token::ArrayEnd => "]".into(),
                Token::Key(key) => format!("{key:?}:"),
                Token::String(string) => format!("{string:?}"),
                Token::Number(number) => number.into(),
                Token::Bool(value) => format!("{value}"),
                Token::Null => "null".into(),
            });
        }
    }

    fn syntax(at: usize, expected: &'static str) -> Result<String, ManifestError> {
        Err(ManifestError::Syntax { at, expected })
    }

    #[test]
    fn every_shape_of_value_is_read() {
        for (document, words) in [
            ("{}", "{ }"),
            (" [ ] ", "[ ]"),
            (
                "\t{\n\"a\" :\r1 , \"b\":[true,false,null]}\n",
                r#"{ "a": 1 "b": [ true false null ] }"#,
            ),
            (
                r#"[{},[],{"":{"":[[]]}}]"#,
                r#"[ { } [ ] { "": { "": [ [ ] ] } } ]"#,
            ),
            ("0", "0"),
            (
                "[-0,10,0.0,-1.5e+10,1E-05,2e3]",
                "[ -0 10 0.0 -1.5e+10 1E-05 2e3 ]",
            ),
        ] {
            assert_eq!(
                read(document.as_bytes()).as_deref(),
                Ok(words),
                "{document}"
            );
        }
    }

    #[test]
    fn strings_are_unescaped_in_place() {
        for (document, string) in [
            (r#""""#, ""),
            (r#""plain \u007f""#, "plain \u{7f}"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""a\u0026b""#, "a&b"),
            (r#""\u0000\u00e9\u20AC\uffff""#, "\0é€\u{ffff}"),
            (r#""\ud83d\ude00 😀 \uDBFF\uDFFF""#, "😀 😀 \u{10ffff}"),
            (r#""\ud800\udc00\ud7ff\ue000""#, "\u{10000}\u{d7ff}\u{e000}"),
        ] {
            assert_eq!(
                read(document.as_bytes()),
                Ok(format!("{string:?}")),
                "{document}"
            );
        }
    }

    #[test]
    fn errors_say_where_and_what() {
        for (document, result) in [
            ("<Error>", syntax(0, "a JSON value")),
            ("{,}", syntax(1, "`\"` or `}`")),
            (r#"{"a":1,}"#, syntax(7, "`\"`")),
            (r#"{"a" 1}"#, syntax(5, "`:`")),
            (r#"{"a":}"#, syntax(5, "a JSON value")),
            (r#"{"a":1 "b":2}"#, syntax(7, "`,` or `}`")),
            (r#"{"a":1]"#, syntax(6, "`,` or `}`")),
            ("[1}", syntax(2, "`,` or `]`")),
            ("[1,]", syntax(3, "a JSON value")),
            ("[,1]", syntax(1, "a JSON value")),
            ("{a:1}", syntax(1, "`\"` or `}`")),
            ("{'a':1}", syntax(1, "`\"` or `}`")),
            ("[trUe]", syntax(3, "true")),
            ("[nulL]", syntax(4, "null")),
            ("[truex]", syntax(5, "`,` or `]`")),
            ("[NaN]", syntax(1, "a JSON value")),
            ("[+1]", syntax(1, "a JSON value")),
            ("[.5]", syntax(1, "a JSON value")),
            ("[01]", syntax(2, "`,` or `]`")),
            ("[-]", syntax(2, "a digit")),
            ("[1.]", syntax(3, "a digit")),
            ("[1e]", syntax(3, "a digit")),
            ("[1e+]", syntax(4, "a digit")),
            ("[0x1]", syntax(2, "`,` or `]`")),
            ("[1 // one\n]", syntax(3, "`,` or `]`")),
            ("\u{a0}1", syntax(0, "a JSON value")),
            (
                "[\"a\tb\"]",
                syntax(3, "control characters to be escaped in strings"),
            ),
            (
                "[\"a\nb\"]",
                syntax(3, "control characters to be escaped in strings"),
            ),
            (
                r#"["\x41"]"#,
                syntax(2, r#"one of the escapes \" \\ \/ \b \f \n \r \t \u"#),
            ),
            (r#"["\u12g4"]"#, syntax(6, "four hex digits after `\\u`")),
            (r#"["\u+123"]"#, syntax(4, "four hex digits after `\\u`")),
            (r#"["a\ud83d"]"#, syntax(3, "surrogates in pairs")),
            (r#"["a\ude00"]"#, syntax(3, "surrogates in pairs")),
            (r#"["\ud83d\ud83d"]"#, syntax(2, "surrogates in pairs")),
            (r#"["\ud83dude00"]"#, syntax(2, "surrogates in pairs")),
            (r#"["\ud83d\ue000"]"#, syntax(2, "surrogates in pairs")),
            (r#"["\ud83d\udbff"]"#, syntax(2, "surrogates in pairs")),
            ("{} {}", Err(ManifestError::TrailingGarbage { at: 3 })),
            ("1 2", Err(ManifestError::TrailingGarbage { at: 2 })),
            ("{}\0", Err(ManifestError::TrailingGarbage { at: 2 })),
            ("\u{feff}{}", Err(ManifestError::ByteOrderMark)),
            ("", Err(ManifestError::Truncated)),
            (" \n", Err(ManifestError::Truncated)),
            ("[\"a\\", Err(ManifestError::Truncated)),
            ("[\"\\ud83", Err(ManifestError::Truncated)),
            ("[-", Err(ManifestError::Truncated)),
            ("[tr", Err(ManifestError::Truncated)),
        ] {
            assert_eq!(read(document.as_bytes()), result, "{document}");
        }
    }

    #[test]
    fn only_utf_8_is_read() {
        for (document, at) in [
            (b"[\"\xFF\"]".as_slice(), 2),
            // Overlong, a surrogate, beyond U+10FFFF: RFC 3629 forbids them.
            (b"[\"a\xC0\x80\"]", 3),
            (b"[\"\xED\xA0\x80\"]", 2),
            (b"[\"\xF4\x90\x80\x80\"]", 2),
            (b"\xFF\xFE{\0}\0", 0),
        ] {
            assert_eq!(read(document), Err(ManifestError::Utf8 { at }));
        }
        assert_eq!(read(b"[\"\xE2\x82"), Err(ManifestError::Truncated));
    }

    #[test]
    fn nesting_is_bounded_and_remembered_to_the_last_level() {
        let nested = |levels: usize| {
            let mut document = String::from("0");
            for level in 0..levels {
                document = match level % 3 {
                    0 => format!("[{document}]"),
                    _ => format!("{{\"a\":{document}}}"),
                };
            }
            document
        };
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        let deep = nested(MAX_DEPTH + 1);
        let Err(ManifestError::TooDeep { at }) = read(deep.as_bytes()) else {
            panic!("{deep}");
        };
        assert_eq!(deep[..at].matches(['[', '{']).count(), MAX_DEPTH);
        assert!(matches!(
            read("[".repeat(MAX_DOCUMENT).as_bytes()),
            Err(ManifestError::TooDeep { at: MAX_DEPTH })
        ));
    }

    #[test]
    fn a_skipped_value_is_skipped_whole_and_checked() {
        for value in ["1", "\"]\"", "[]", "{}", "[[],{\"b\":[{}]}]", "null"] {
            let mut document = format!("{{\"a\":{value},\"next\":0}}").into_bytes();
            let mut reader = Reader::new(&mut document).unwrap();
            assert_eq!(reader.next(), Ok(Token::ObjectStart));
            assert_eq!(reader.next(), Ok(Token::Key("a")));
            assert_eq!(reader.skip_value(), Ok(()));
            assert_eq!(reader.next(), Ok(Token::Key("next")), "{value}");
        }
        let mut document = br#"{"a":[1,{"b":tru}]}"#.to_vec();
        let mut reader = Reader::new(&mut document).unwrap();
        reader.next().unwrap();
        reader.next().unwrap();
        assert!(matches!(
            reader.skip_value(),
            Err(ManifestError::Syntax { at: 16, .. })
        ));
    }
}

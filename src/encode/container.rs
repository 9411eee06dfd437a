//! Enumerations and arrays: `enum.c` and `arrayfuncs.c` of the server's `src/backend/utils/adt`.

use crate::encode::{Encoder, Refusal, SessionParams, is_space, text};

/// The labels of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    sorted: Vec<String>,
    expected: String,
}

impl Labels {
    /// Of the enumeration with these `labels`, in its order.
    pub(super) fn new(labels: &[String]) -> Self {
        const SHOWN: usize = 8;
        let mut expected = labels.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        if labels.len() > SHOWN {
            expected.push_str(", …");
        }
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        Labels { sorted, expected: format!("expected one of {expected}") }
    }

    /// A label is sent as it is.
    pub(super) fn encode(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.sorted
            .binary_search_by(|label| label.as_bytes().cmp(field))
            .map_err(|_| Refusal::Invalid(self.expected.clone()))?;
        out.extend_from_slice(field);
        Ok(())
    }
}

/// The most dimensions that an array has.
const MAX_DIMENSIONS: usize = 6;

/// Writes arrays of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    element: Encoder,
    element_oid: u32,
    delimiter: u8,
    nulls: bool,
}

/// The bounds of an array's dimensions, as its literal states them in front.
#[derive(Default)]
struct Bounds {
    /// The lower bound of each dimension, and how many elements it has.
    stated: [(i32, i32); MAX_DIMENSIONS],
    dimensions: usize,
}

impl Bounds {
    /// Read `[1:3][0:1]=`; `None` when it is written in another way.
    fn parse(mut literal: &[u8]) -> Option<(Self, &[u8])> {
        let mut bounds = Bounds::default();
        while let [b'[', rest @ ..] = literal {
            let end = rest.iter().position(|&byte| byte == b']')?;
            let colon = rest[..end].iter().position(|&byte| byte == b':')?;
            let (lower, upper) = (bound(&rest[..colon])?, bound(&rest[colon + 1..end])?);
            if upper < lower {
                return None;
            }
            *bounds.stated.get_mut(bounds.dimensions)? = (lower, upper - lower + 1);
            bounds.dimensions += 1;
            literal = &rest[end + 1..];
        }
        Some((bounds, literal.strip_prefix(b"=")?))
    }
}

/// What is known of an array when its last brace is read.
struct Shape {
    /// How many elements each dimension has.
    sizes: [i32; MAX_DIMENSIONS],
    has_nulls: bool,
}

/// A bound that no server finds too large.
fn bound(bytes: &[u8]) -> Option<i32> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let short = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(bytes).ok().filter(|_| short)?.parse().ok()
}

fn malformed(what: &str) -> Refusal {
    Refusal::Invalid(format!("not an array: {what}"))
}

impl Array {
    pub(super) fn new(element: Encoder, element_oid: u32, delimiter: u8, session: &SessionParams) -> Self {
        Array { element, element_oid, delimiter, nulls: session.array_nulls }
    }

    /// An array from its literal, `{1,2}`; bounds in another than the plain spelling, and empty arrays inside
    /// of arrays, which mean nothing before version 17, are left to the server.
    pub(super) fn encode(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        text::check(field)?;
        let mut literal = Literal { rest: field };
        let bounds = match literal.peek() {
            Some(b'[') => {
                let (bounds, rest) = Bounds::parse(literal.rest).ok_or(Refusal::Unsure)?;
                literal.rest = rest;
                Some(bounds)
            }
            _ => None,
        };
        let dimensions = literal.leading_braces();
        if dimensions == 0 {
            return Err(malformed("it begins with an opening brace"));
        }
        if dimensions > MAX_DIMENSIONS || bounds.as_ref().is_some_and(|b| b.dimensions != dimensions) {
            return Err(Refusal::Unsure);
        }
        let header = out.len();
        out.extend_from_slice(&(dimensions as i32).to_be_bytes());
        out.extend_from_slice(&0_i32.to_be_bytes());
        out.extend_from_slice(&self.element_oid.to_be_bytes());
        let sizes_at = out.len();
        out.resize(sizes_at + 8 * dimensions, 0);

        let Some(Shape { sizes, has_nulls }) = self.elements(&mut literal, dimensions, out)? else {
            if dimensions > 1 || bounds.is_some() {
                return Err(Refusal::Unsure);
            }
            // Without elements an array has no dimensions.
            out.truncate(sizes_at);
            out[header..header + 4].fill(0);
            return Ok(());
        };
        out[header + 7] = has_nulls.into();
        for (index, slot) in out[sizes_at..].chunks_exact_mut(8).take(dimensions).enumerate() {
            let (lower, stated) = bounds.as_ref().map_or((1, sizes[index]), |b| b.stated[index]);
            if stated != sizes[index] {
                return Err(malformed("it has not as many elements as its bounds say"));
            }
            slot[..4].copy_from_slice(&sizes[index].to_be_bytes());
            slot[4..].copy_from_slice(&lower.to_be_bytes());
        }
        Ok(())
    }

    /// Append all elements; `None` if there are none.
    fn elements(
        &self,
        literal: &mut Literal<'_>,
        dimensions: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<Shape>, Refusal> {
        let mut sizes = [0; MAX_DIMENSIONS];
        let mut counts = [0; MAX_DIMENSIONS];
        let (mut depth, mut total, mut has_nulls) = (0, 0_u64, false);
        loop {
            while depth < dimensions {
                if literal.peek() != Some(b'{') {
                    return Err(malformed("its elements are nested to different depths"));
                }
                literal.skip(1);
                counts[depth] = 0;
                depth += 1;
            }
            match literal.peek() {
                Some(b'{') => return Err(malformed("its elements are nested to different depths")),
                Some(b'}') if counts[depth - 1] == 0 => {
                    // An empty array; the only one unless it is inside of another.
                    literal.skip(1);
                    let only = dimensions == 1 && literal.peek().is_none();
                    return if only { Ok(None) } else { Err(Refusal::Unsure) };
                }
                _ => {}
            }
            total += 1;
            has_nulls |= self.element(literal, total, out)?;
            counts[depth - 1] += 1;
            // After an element or a closing brace.
            loop {
                match literal.peek() {
                    Some(byte) if byte == self.delimiter => {
                        literal.skip(1);
                        if let Some(b'}') | None = literal.peek() {
                            return Err(malformed("an element is missing at an end"));
                        }
                        break;
                    }
                    Some(b'}') => {
                        literal.skip(1);
                        depth -= 1;
                        let size = if sizes[depth] == 0 { counts[depth] } else { sizes[depth] };
                        if size != counts[depth] {
                            return Err(malformed("its parts have different numbers of elements"));
                        }
                        sizes[depth] = size;
                        if depth == 0 {
                            return match literal.peek() {
                                None => Ok(Some(Shape { sizes, has_nulls })),
                                Some(_) => Err(malformed("something follows the closing brace")),
                            };
                        }
                        counts[depth - 1] += 1;
                    }
                    None => return Err(malformed("a closing brace is missing")),
                    Some(_) => return Err(malformed("something follows a quoted element or a brace")),
                }
            }
        }
    }

    /// Append one element, with its length; whether it is NULL.
    fn element(&self, literal: &mut Literal<'_>, number: u64, out: &mut Vec<u8>) -> Result<bool, Refusal> {
        let mut scratch = Vec::new();
        let element = literal.element(self.delimiter, &mut scratch)?;
        if element.bare && element.value.eq_ignore_ascii_case(b"null") {
            if !self.nulls {
                return Err(Refusal::Unsure);
            }
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return Ok(true);
        }
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.element.encode(element.value, out).map_err(|refusal| match refusal {
            Refusal::Invalid(expected) => Refusal::Invalid(format!("element {number}: {expected}")),
            Refusal::Unsure => Refusal::Unsure,
        })?;
        let length = (out.len() - length_at - 4) as i32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(false)
    }
}

/// What is left of an array's literal.
struct Literal<'a> {
    rest: &'a [u8],
}

/// An element as it was written.
struct Element<'a> {
    value: &'a [u8],
    /// Neither quotes nor backslashes: it may be NULL.
    bare: bool,
}

impl<'a> Literal<'a> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let space = self.rest.iter().take_while(|byte| is_space(**byte)).count();
        self.rest = &self.rest[space..];
        self.rest.first().copied()
    }

    fn skip(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }

    /// How many braces open before anything else: the number of dimensions.
    fn leading_braces(&self) -> usize {
        let bytes = self.rest.iter().filter(|byte| !is_space(**byte));
        bytes.take_while(|&&byte| byte == b'{').count()
    }

    /// Take one element off, put together in `scratch` if it has backslashes.
    fn element<'b>(&mut self, delimiter: u8, scratch: &'b mut Vec<u8>) -> Result<Element<'b>, Refusal>
    where
        'a: 'b,
    {
        let quoted = self.peek() == Some(b'"');
        self.skip(quoted.into());
        let text = self.rest;
        // The value so far is `scratch` and `text[from..at]`; `kept` is the length of `scratch` that an escaped
        // space protects.
        let (mut from, mut at, mut escaped) = (0, 0, false);
        let mut kept = 0;
        loop {
            match text.get(at) {
                None => return Err(malformed("a quote or a brace is not closed")),
                Some(b'\\') => {
                    escaped = true;
                    scratch.extend_from_slice(&text[from..at]);
                    let next = *text.get(at + 1).ok_or_else(|| malformed("it ends with a backslash"))?;
                    scratch.push(next);
                    kept = scratch.len();
                    at += 2;
                    from = at;
                }
                Some(b'"') if quoted => break,
                Some(b'"' | b'{') if !quoted => {
                    return Err(malformed("a quote or a brace is inside of an element"));
                }
                Some(&byte) if !quoted && (byte == b'}' || byte == delimiter) => break,
                Some(_) => at += 1,
            }
        }
        self.skip(at + usize::from(quoted));
        let mut value = &text[from..at];
        if escaped {
            scratch.extend_from_slice(value);
            value = scratch;
        }
        if !quoted {
            while value.len() > kept && value.last().is_some_and(|byte| is_space(*byte)) {
                value = &value[..value.len() - 1];
            }
            if value.is_empty() {
                return Err(malformed("an element is missing; write \"\" for an empty one"));
            }
        }
        Ok(Element { value, bare: !quoted && !escaped })
    }
}

//! Enumerations and arrays: `enum.c` and `arrayfuncs.c` of the server's `src/backend/utils/adt`.

use crate::encode::{Encoder, Refusal, SessionParams, is_space, text};

/// The labels of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumLabels {
    sorted: Vec<String>,
    expected: String,
}

impl EnumLabels {
    /// The labels of an enumeration, in its sort order.
    pub(super) fn new(labels: &[String]) -> Self {
        const SHOWN: usize = 8;
        let mut expected = labels.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        if labels.len() > SHOWN {
            expected.push_str(", …");
        }
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        EnumLabels { sorted, expected: format!("expected one of {expected}") }
    }

    /// Append `field` if it is a label.
    pub(super) fn encode(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.sorted
            .binary_search_by(|label| label.as_bytes().cmp(field))
            .map_err(|_| Refusal::Invalid(self.expected.clone()))?;
        out.extend_from_slice(field);
        Ok(())
    }
}

/// The maximum number of dimensions of an array: `MAXDIM` in the server's source.
const MAX_DIMENSIONS: usize = 6;

/// Encodes arrays of one element type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayEncoder {
    element: Encoder,
    element_oid: u32,
    delimiter: u8,
    /// Whether an unquoted `NULL` is a NULL element.
    nulls: bool,
}

/// The bounds that an array literal states before its elements.
#[derive(Default)]
struct StatedBounds {
    /// The lower bound and the number of elements of each dimension.
    stated: [(i32, i32); MAX_DIMENSIONS],
    dimensions: usize,
}

impl StatedBounds {
    /// Parse bounds such as `[1:3][0:1]=`. Return them and the rest of the literal; `None` for any other notation.
    fn parse(mut literal: &[u8]) -> Option<(Self, &[u8])> {
        let mut bounds = StatedBounds::default();
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

/// The layout of an array, known once its last brace has been read.
struct ArrayLayout {
    /// The number of elements of each dimension.
    sizes: [i32; MAX_DIMENSIONS],
    has_nulls: bool,
}

/// Parse a bound of at most nine digits, which is in range on every server.
fn bound(bytes: &[u8]) -> Option<i32> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let short = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(bytes).ok().filter(|_| short)?.parse().ok()
}

fn malformed(what: &str) -> Refusal {
    Refusal::Invalid(format!("malformed array: {what}"))
}

impl ArrayEncoder {
    pub(super) fn new(element: Encoder, element_oid: u32, delimiter: u8, session: &SessionParams) -> Self {
        ArrayEncoder { element, element_oid, delimiter, nulls: session.array_nulls }
    }

    /// Encode an array from its literal, such as `{1,2}`. Bounds in unusual notation, and empty arrays and misplaced braces
    /// inside arrays, whose treatment changed in version 17, are left to the server.
    pub(super) fn encode(&self, field: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        text::check(field)?;
        let mut literal = ArrayLiteral { rest: field };
        let bounds = match literal.peek() {
            Some(b'[') => {
                let (bounds, rest) = StatedBounds::parse(literal.rest).ok_or(Refusal::NeedsServer)?;
                literal.rest = rest;
                Some(bounds)
            }
            _ => None,
        };
        let dimensions = literal.leading_braces();
        if dimensions == 0 {
            return Err(malformed("it does not begin with an opening brace"));
        }
        if dimensions > MAX_DIMENSIONS || bounds.as_ref().is_some_and(|b| b.dimensions != dimensions) {
            return Err(Refusal::NeedsServer);
        }
        let header = out.len();
        out.extend_from_slice(&(dimensions as i32).to_be_bytes());
        out.extend_from_slice(&0_i32.to_be_bytes());
        out.extend_from_slice(&self.element_oid.to_be_bytes());
        let sizes_at = out.len();
        out.resize(sizes_at + 8 * dimensions, 0);

        let layout = self.elements(&mut literal, dimensions, out).map_err(|refusal| {
            // Before version 17, arrays such as {{{2}},{3}} were read, in ways of their own.
            if dimensions > 1 { Refusal::NeedsServer } else { refusal }
        });
        let Some(ArrayLayout { sizes, has_nulls }) = layout? else {
            if dimensions > 1 || bounds.is_some() {
                return Err(Refusal::NeedsServer);
            }
            // An array without elements has no dimensions.
            out.truncate(sizes_at);
            out[header..header + 4].fill(0);
            return Ok(());
        };
        out[header + 7] = has_nulls.into();
        for (index, slot) in out[sizes_at..].chunks_exact_mut(8).take(dimensions).enumerate() {
            let (lower, stated) = bounds.as_ref().map_or((1, sizes[index]), |b| b.stated[index]);
            if stated != sizes[index] {
                return Err(malformed("its number of elements differs from its bounds"));
            }
            slot[..4].copy_from_slice(&sizes[index].to_be_bytes());
            slot[4..].copy_from_slice(&lower.to_be_bytes());
        }
        Ok(())
    }

    /// Append all elements. Return the layout of the array; `None` if it is empty.
    fn elements(
        &self,
        literal: &mut ArrayLiteral<'_>,
        dimensions: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<ArrayLayout>, Refusal> {
        let mut sizes = [0; MAX_DIMENSIONS];
        let mut counts = [0; MAX_DIMENSIONS];
        let (mut depth, mut total, mut has_nulls) = (0, 0_u64, false);
        loop {
            literal.open_braces(&mut counts[depth..dimensions])?;
            depth = dimensions;
            if literal.peek() == Some(b'}') && counts[depth - 1] == 0 {
                // An empty array, which may be inside another.
                literal.skip(1);
                let only = dimensions == 1 && literal.peek().is_none();
                return if only { Ok(None) } else { Err(Refusal::NeedsServer) };
            }
            total += 1;
            has_nulls |= self.element(literal, total, out)?;
            counts[depth - 1] += 1;
            // What may follow an element or a closing brace.
            loop {
                match literal.peek() {
                    Some(byte) if byte == self.delimiter => {
                        literal.skip(1);
                        if let Some(b'}') | None = literal.peek() {
                            return Err(malformed("an element is missing after a delimiter"));
                        }
                        break;
                    }
                    Some(b'}') => {
                        literal.skip(1);
                        depth -= 1;
                        let size = if sizes[depth] == 0 { counts[depth] } else { sizes[depth] };
                        if size != counts[depth] {
                            return Err(malformed("its subarrays have different numbers of elements"));
                        }
                        sizes[depth] = size;
                        if depth == 0 {
                            return match literal.peek() {
                                None => Ok(Some(ArrayLayout { sizes, has_nulls })),
                                Some(_) => Err(malformed("text follows the closing brace")),
                            };
                        }
                        counts[depth - 1] += 1;
                    }
                    None => return Err(malformed("a closing brace is missing")),
                    Some(_) => return Err(malformed("text follows a quoted element or a brace")),
                }
            }
        }
    }

    /// Append one element, preceded by its length. Return whether it is NULL; `number` counts from 1 in messages.
    fn element(
        &self,
        literal: &mut ArrayLiteral<'_>,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<bool, Refusal> {
        let mut scratch = Vec::new();
        let element = literal.element(self.delimiter, &mut scratch)?;
        if element.bare && element.value.eq_ignore_ascii_case(b"null") {
            if !self.nulls {
                return Err(Refusal::NeedsServer);
            }
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return Ok(true);
        }
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.element.encode(element.value, out).map_err(|refusal| match refusal {
            Refusal::Invalid(expected) => Refusal::Invalid(format!("element {number}: {expected}")),
            Refusal::NeedsServer => Refusal::NeedsServer,
        })?;
        let length = (out.len() - length_at - 4) as i32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(false)
    }
}

/// The unread rest of an array literal.
struct ArrayLiteral<'a> {
    rest: &'a [u8],
}

/// An element of an array literal.
struct LiteralElement<'a> {
    value: &'a [u8],
    /// Whether it has neither quotes nor backslashes, so that it may be NULL.
    bare: bool,
}

impl<'a> ArrayLiteral<'a> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let space = self.rest.iter().take_while(|byte| is_space(**byte)).count();
        self.rest = &self.rest[space..];
        self.rest.first().copied()
    }

    fn skip(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }

    /// The number of opening braces at the beginning, which is the number of dimensions.
    fn leading_braces(&self) -> usize {
        let bytes = self.rest.iter().filter(|byte| !is_space(**byte));
        bytes.take_while(|&&byte| byte == b'{').count()
    }

    /// Skip one opening brace for each of `counts`, the numbers of elements of the dimensions that begin here, and reset it.
    fn open_braces(&mut self, counts: &mut [i32]) -> Result<(), Refusal> {
        for count in counts {
            if self.peek() != Some(b'{') {
                return Err(malformed("its elements are nested to different depths"));
            }
            self.skip(1);
            *count = 0;
        }
        match self.peek() {
            Some(b'{') => Err(malformed("its elements are nested to different depths")),
            _ => Ok(()),
        }
    }

    /// Read one element. A value with backslashes is assembled in `scratch`.
    fn element<'b>(&mut self, delimiter: u8, scratch: &'b mut Vec<u8>) -> Result<LiteralElement<'b>, Refusal>
    where
        'a: 'b,
    {
        let quoted = self.peek() == Some(b'"');
        self.skip(quoted.into());
        let text = self.rest;
        // The value so far is `scratch` followed by `text[from..at]`. The first `kept` bytes of `scratch` end with an
        // escaped byte, so they are not trimmed.
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
                    return Err(malformed("an unquoted element contains a quote or a brace"));
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
        Ok(LiteralElement { value, bare: !quoted && !escaped })
    }
}

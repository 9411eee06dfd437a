//! Sizes shared by reading and decoding, in bytes.

/// The size of one read. It is small in tests, so that records cross many block boundaries.
pub(crate) const READ_BLOCK: usize = if cfg!(test) { 512 } else { 256 * 1024 };

/// The default limit on the length of a record. A longer one most likely has an unclosed quote.
pub const DEFAULT_MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// The highest limit that can be set; PostgreSQL accepts no row this long.
pub const MAX_RECORD_BYTES_CEILING: usize = 1 << 30;

/// The byte order mark of UTF-8.
pub(crate) const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";

/// The length of the longest byte order mark, that of UTF-8.
pub(crate) const LONGEST_BOM: usize = UTF_8_MARK.len();

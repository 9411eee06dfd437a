//! Sizes that reading and decoding share, in bytes.

/// How much is read at once; little in tests, which so meet many boundaries and fill few pages.
pub(crate) const BLOCK: usize = if cfg!(test) { 512 } else { 256 * 1024 };

/// A longer record is an error by default: most likely a quote is never closed.
pub const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// The highest limit that can be set: PostgreSQL accepts no row that long.
pub const MOST_RECORD_BYTES: usize = 1 << 30;

/// The length of UTF-8's byte order mark, the longest.
pub(crate) const LONGEST_MARK: usize = 3;

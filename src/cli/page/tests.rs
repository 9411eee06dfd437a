//! The pages of small documents: well-formed, self-contained, and whatever the documents contain.

use serde_json::json;

use super::*;

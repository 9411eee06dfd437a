//! Checks deferred constraints before the commit.

use tokio_postgres::Client;

use crate::Result;
use crate::load::refusal::refusal_error;

/// Check the rows written so far against all deferred constraints, and every later row as it is written.
///
/// # Errors
/// When a row violates a constraint.
pub(crate) async fn check_constraints(client: &Client) -> Result<()> {
    let checked = client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await;
    checked.map_err(|error| refusal_error("check the deferred constraints", error))
}

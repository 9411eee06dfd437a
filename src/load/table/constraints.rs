//! Deferred constraints, checked before the commit.

use tokio_postgres::Client;

use crate::Result;
use crate::load::refusal::refused;

/// Check what deferred constraints have left to the end so far, and from now on at every row.
pub(crate) async fn check_constraints(client: &Client) -> Result<()> {
    let checked = client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await;
    checked.map_err(|error| refused("check the deferred constraints", &error))
}

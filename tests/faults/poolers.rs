//! Poolers that are killed in the middle of a load.

use crate::loads::{HalfLoad, KINDS, TABLE};
use crate::support;
use crate::support::pgbouncer::{self, PgBouncer, PoolMode};
use crate::support::workplace::Workplace;

#[tokio::test]
async fn a_pooler_that_is_killed_leaves_all_or_nothing_and_an_import_goes_on_through_the_next_one() {
    if pgbouncer::is_missing() {
        return;
    }
    for mode in [PoolMode::Session, PoolMode::Transaction] {
        for kind in KINDS {
            let when = format!("{mode:?}, {:?}", kind.flags);
            let database = support::database().await;
            let mut pooler = PgBouncer::start(&database, mode, 4);
            // The test's own connection is a direct one.
            let workplace = Workplace::on(&database).await.at(pooler.database().url());
            workplace.execute(TABLE).await;
            let load = HalfLoad::start(&workplace, kind).await;
            pooler.kill_and_start_again();
            let ran = load.finish();
            kind.check_survived(&ran, &workplace, &when).await;
        }
    }
}

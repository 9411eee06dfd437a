//! A server that is a standby, on which nothing can be written.

use rustix::process::Signal;

use crate::loads::{KINDS, RECORDS, TABLE, csv};
use crate::support::load::wait_for_no_session;
use crate::support::own_server::OwnServer;
use crate::support::workplace::Workplace;

#[tokio::test]
async fn a_standby_loads_nothing_and_is_named_until_it_is_promoted() {
    let mut server = OwnServer::start_with(&[("wal_level", "replica"), ("max_wal_senders", "1")]);
    Workplace::on(&server.database()).await.execute(TABLE).await;
    server.end_with(Signal::INT);
    std::fs::write(server.dir().join("server/data/standby.signal"), "").unwrap();
    server.start_again();
    let workplace = Workplace::on(&server.database()).await;
    for kind in KINDS {
        let when = format!("{:?}", kind.flags);
        let ran = workplace.run_with_input(&kind.arguments(), csv(0, RECORDS));
        assert_eq!(ran.status.code(), Some(1), "{when}: {ran:#?}");
        assert!(ran.stderr.contains("is a standby, which accepts no changes"), "{when}: {ran:#?}");
        assert_eq!(workplace.count("t").await, 1, "{when}");
        wait_for_no_session(workplace.client()).await;
    }
    workplace.execute("SELECT pg_promote()").await;
    for kind in KINDS {
        workplace.execute("DELETE FROM t WHERE id >= 0").await;
        kind.complete(&workplace, &format!("{:?}, promoted", kind.flags)).await;
    }
}

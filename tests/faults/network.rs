//! Networks that are unplugged or slow, and a server that stands still for longer than any of them should.

use std::time::Duration;

use rustix::process::Signal;

use crate::byte_proxy::ByteProxy;
use crate::loads::{HalfLoad, KINDS, TABLE, sessions_in_t, signal_all};
use crate::support;
use crate::support::load::{wait_for_no_session, wait_until};
use crate::support::own_server::OwnServer;
use crate::support::workplace::{ProgramOutput, Workplace};

/// Settings with which a lost connection is noticed within seconds.
const IMPATIENT: &str = "tcp_user_timeout=2000&keepalives_idle=1&keepalives_interval=1&keepalives_count=2";

/// A proxy in front of a new database with the table, and a workplace behind it.
async fn behind_proxy() -> (ByteProxy, Workplace) {
    let database = support::database().await;
    let proxy = ByteProxy::start(&database);
    let workplace = Workplace::on(&database).await.at(&format!("{}&{IMPATIENT}", proxy.url()));
    workplace.execute(TABLE).await;
    (proxy, workplace)
}

/// Nothing tells either end; what is sent is not acknowledged, and neither are the probes of a silent connection.
#[tokio::test]
async fn a_connection_into_the_void_ends_a_load_and_an_import_goes_on_over_another_one() {
    for kind in KINDS {
        for input_is_silent in [false, true] {
            if input_is_silent && kind.is_import {
                continue;
            }
            let when = format!("{:?}, silent: {input_is_silent}", kind.flags);
            let (proxy, workplace) = behind_proxy().await;
            let load = HalfLoad::start(&workplace, kind).await;
            proxy.unplug();
            let ran = if input_is_silent { load.wait() } else { load.finish() };
            proxy.give_up();
            kind.check_survived(&ran, &workplace, &when).await;
        }
    }
}

#[tokio::test]
async fn a_slow_network_is_waited_for() {
    for kind in KINDS {
        let (proxy, workplace) = behind_proxy().await;
        proxy.throttle(512, Duration::from_millis(2));
        kind.complete(&workplace, &format!("{:?}", kind.flags)).await;
        wait_for_no_session(workplace.client()).await;
    }
}

/// All buffers between the program and the server are full meanwhile.
#[tokio::test]
async fn a_server_that_stands_still_for_40_seconds_loses_nothing() {
    let server = OwnServer::start();
    let proxy = ByteProxy::start(&server.database());
    let filler = "x".repeat(500);
    let rows = (0..60_000).fold(String::new(), |rows, id| rows + &format!("{id},{filler}\n"));
    let workplace =
        Workplace::on(&server.database()).await.at(proxy.url()).csv("data.csv", format!("id,v\n{rows}"));
    workplace.execute(TABLE).await;
    let load = workplace.start(&["load", "data.csv", "-t", "t", "--append"]);
    let has_begun = async || !sessions_in_t(workplace.client()).await.is_empty();
    wait_until("that the load has begun", has_begun).await;
    let mut frozen = workplace.values::<i32>("SELECT pid FROM pg_stat_activity").await;
    frozen.push(server.postmaster().as_raw_pid());
    signal_all(&frozen, Signal::STOP);
    let passed = || proxy.passed().iter().map(|passed| passed.from_client.len()).sum::<usize>();
    let at_first = passed();
    std::thread::sleep(Duration::from_secs(40));
    let did_stop = passed() < at_first + rows.len() / 2;
    signal_all(&frozen, Signal::CONT);
    let ran = ProgramOutput::from_child(load);
    assert!(did_stop, "the server read on");
    assert_eq!(ran.status.code(), Some(0), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 60_001);
}

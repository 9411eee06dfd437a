//! Networks that are unplugged or slow, and a server that stands still for longer than any of them should.

use std::io::Write as _;
use std::process::ChildStdin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::byte_proxy::ByteProxy;
use crate::loads::{BEFORE, HalfLoad, KINDS, TABLE, signal_all};
use crate::support;
use crate::support::load::wait_for_no_session;
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

/// All buffers between the programs and the server are full meanwhile.
#[tokio::test]
async fn a_server_that_stands_still_for_40_seconds_loses_nothing() {
    const ROWS: u32 = 60_000;
    let server = OwnServer::start();
    let filler = "x".repeat(500);
    let rest = (BEFORE..ROWS).fold(String::new(), |rows, id| rows + &format!("{id},{filler}\n"));
    let rest = Arc::new(rest);
    let mut loads = Vec::new();
    for (name, kind) in ["rows", "batch", "copy", "connections", "import"].into_iter().zip(KINDS) {
        let database = server.new_database(name).await;
        let proxy = ByteProxy::start(&database);
        let workplace = Workplace::on(&database).await.at(proxy.url());
        workplace.execute(TABLE).await;
        let HalfLoad { child, stdin } = HalfLoad::start(&workplace, kind).await;
        loads.push((name, proxy, workplace, child, stdin));
    }
    let mut frozen = loads[0].2.values::<i32>("SELECT pid FROM pg_stat_activity").await;
    frozen.push(server.postmaster().as_raw_pid());
    signal_all(&frozen, Signal::STOP);
    let start_writing = |(name, proxy, workplace, child, mut stdin): (_, _, _, _, ChildStdin)| {
        let rest = Arc::clone(&rest);
        thread::spawn(move || stdin.write_all(rest.as_bytes()));
        (name, proxy, workplace, child)
    };
    let loads: Vec<_> = loads.into_iter().map(start_writing).collect();
    thread::sleep(Duration::from_secs(40));
    let sent =
        |proxy: &ByteProxy| proxy.passed().iter().map(|passed| passed.from_client.len()).sum::<usize>();
    let did_stop = loads.iter().all(|(_, proxy, ..)| sent(proxy) < rest.len() / 2);
    signal_all(&frozen, Signal::CONT);
    for (name, _, workplace, child) in loads {
        let ran = ProgramOutput::from_child(child);
        assert_eq!(ran.status.code(), Some(0), "{name}: {ran:#?}");
        assert_eq!(workplace.count("t").await, i64::from(ROWS) + 1, "{name}");
    }
    assert!(did_stop, "the server read on");
}

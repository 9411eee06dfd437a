//! `query --nodes`: connections that are spread over the nodes of Citus.

use serde_json::Value;
use tokio_postgres::Config;

use crate::support::proxy::{Fate, Plan, Proxy};
use crate::support::workplace::Workplace;
use crate::support::{citus, database};

const RUN: [&str; 8] = ["query", "--sql", "SELECT 1", "-n", "100", "-c", "4", "--nodes=auto"];

/// What the report `key`s of every host have.
fn of_hosts(report: &Value, key: &str) -> Vec<Value> {
    report["hosts"].as_array().unwrap().iter().map(|host| host[key].clone()).collect()
}

/// One server stands for all nodes, each of which has a proxy before it, and what Citus knows of them.
#[tokio::test]
async fn every_node_that_can_be_used_gets_connections() {
    let database = database().await;
    let plan = Plan { trigger: |_| false, passing: 0, fate: Fate::Cut, then_closes: false };
    let [one, other] = [plan.clone(), plan].map(|plan| Proxy::start(&database, plan));
    let workplace = one.workplace(&database).await;
    let help = "leave --nodes out, or name a database of a Citus cluster";
    let error = workplace.fail(&RUN, 1);
    assert!(error.contains("this database does not have the extension citus"), "{error}");
    assert!(error.contains(help), "{error}");

    workplace
        .execute(
            "CREATE TABLE pg_dist_local_group (groupid int);
             CREATE TABLE pg_dist_node (nodeid serial, nodename text, nodeport int, groupid int, noderole text DEFAULT
                 'primary', shouldhaveshards bool DEFAULT true, isactive bool DEFAULT true, hasmetadata bool DEFAULT true,
                 metadatasynced bool DEFAULT true);
             INSERT INTO pg_dist_local_group VALUES (1)",
        )
        .await;
    let error = workplace.fail(&RUN, 1);
    assert!(error.contains("pg_dist_node has no active node with shards and metadata"), "{error}");
    assert!(error.contains("start_metadata_sync_to_all_nodes()"), "{error}");
    let socket = Workplace::on(&database).await.fail(&RUN, 1);
    assert!(socket.contains("name this server by its host name or address"), "{socket}");

    let other_workplace = other.workplace(&database).await;
    let port = |url: &str| url.parse::<Config>().unwrap().get_ports()[0];
    let ports = [&workplace, &other_workplace].map(|workplace| port(workplace.database_url()));
    let [first, second] = ports;
    workplace
        .execute(&format!(
            "INSERT INTO pg_dist_node (nodename, nodeport, groupid) VALUES ('localhost', {first}, 2);
             INSERT INTO pg_dist_node (nodename, nodeport, groupid, metadatasynced) VALUES ('bare', 5432, 3, false);
             INSERT INTO pg_dist_node (nodename, nodeport, groupid, isactive) VALUES ('disabled', 5432, 4, false);
             INSERT INTO pg_dist_node (nodename, nodeport, groupid, shouldhaveshards) VALUES ('planner', 5432, 0, false);
             INSERT INTO pg_dist_node (nodename, nodeport, groupid, noderole) VALUES ('copy', 5432, 1, 'secondary');
             INSERT INTO pg_dist_node (nodename, nodeport, groupid) VALUES ('127.0.0.1', 1, 5)"
        ))
        .await;
    let error = workplace.fail(&RUN, 4);
    assert!(error.contains("no node of Citus can be used; "), "{error}");
    workplace
        .execute(&format!(
            "INSERT INTO pg_dist_node (nodename, nodeport, groupid) VALUES ('127.0.0.1', {first}, 1),
                                                                           ('127.0.0.1', {second}, 1)"
        ))
        .await;
    let ran = workplace.succeed(&[&RUN[..], &["--json"]].concat());
    let report = ran.json();
    let of_used: Vec<&Value> =
        report["hosts"].as_array().unwrap().iter().filter(|host| host["problem"].is_null()).collect();
    assert_eq!(of_used.iter().map(|host| &host["port"]).collect::<Vec<_>>(), ports, "{report:#}");
    assert!(of_used.iter().all(|host| host["connections"] == 2), "{report:#}");
    assert_eq!(of_used.iter().map(|host| host["queries"].as_u64().unwrap()).sum::<u64>(), 100, "{report:#}");
    for (node, problem) in [
        ("bare:5432", "it lacks the metadata of Citus"),
        ("disabled:5432", "it is disabled"),
        ("127.0.0.1:1", "onnection refused"),
        (&format!("localhost:{first}"), "another server answers at this address of pg_dist_node"),
    ] {
        let note = ran.stderr.lines().find(|line| line.contains(&format!("host {node} is not used: ")));
        assert!(note.is_some_and(|note| note.contains(problem)), "{node}: {ran:#?}");
    }
    assert_eq!(of_hosts(&report, "port").len(), 6, "{report:#}");
}

#[tokio::test]
async fn the_nodes_of_a_cluster_answer_alike() {
    let Some(workplace) = citus::workplace("etl_spread").await else { return };
    let rows = (1..=1000).fold(String::new(), |rows, id| rows + &format!("{id},name {id}\n"));
    workplace.write("people.csv", format!("id,name\n{rows}"));
    workplace.succeed(&["load", "people.csv", "-t", "people", "--create", "--distribute-by", "id"]);
    let sql = ["query", "--sql", "SELECT name FROM people WHERE id = $1", "--arg", "uniform:1:1000"];
    // One at a time on each connection, so that none answers all of them before another one has begun.
    let run = ["-n", "1000", "-c", "4", "-d", "1", "--nodes", "auto", "--verify", "--json"];
    let report = workplace.succeed(&[&sql[..], &run].concat()).json();
    let holding = "SELECT nodeport FROM pg_dist_node WHERE shouldhaveshards ORDER BY nodeid";
    assert_eq!(of_hosts(&report, "port"), workplace.values::<i32>(holding).await, "{report:#}");
    assert!(of_hosts(&report, "queries").iter().all(|queries| *queries != 0), "{report:#}");
    assert_eq!(report["checked"]["different"], 0, "{report:#}");
}

//! The nodes of a Citus cluster, over which connections are spread.

use tokio_postgres::{Client, Row};

use crate::error::ErrorKind;
use crate::postgres::conninfo::Conninfo;
use crate::postgres::endpoint::{Endpoint, HostEntry};
use crate::postgres::spread::UnusableHost;
use crate::{Error, Result};

/// The nodes that hold shards, whether each is active, and whether it has the metadata to plan queries by.
const NODES: &str = "
    SELECT nodename, nodeport, isactive, hasmetadata AND metadatasynced
    FROM pg_dist_node WHERE noderole = 'primary' AND shouldhaveshards ORDER BY nodeid";

/// Whether the server that answers is the node of this name and port.
const IS_NODE: &str = "
    SELECT count(*) = 1 FROM pg_dist_node JOIN pg_dist_local_group USING (groupid)
    WHERE nodename = $1 AND nodeport = $2";

/// The nodes of the cluster of `client` that hold shards: settings to reach those that can plan queries, with the login of
/// `conninfo`, by which `client` has reached `endpoint`; and the others.
///
/// # Errors
/// When the database does not have Citus, no node can plan queries, or the settings are for Unix sockets only.
pub(super) async fn find_nodes(
    client: &Client,
    conninfo: &Conninfo,
    endpoint: &Endpoint,
) -> Result<(Conninfo, Vec<UnusableHost>)> {
    let failed = |error| Error::database("look up the nodes of Citus", error);
    let refused = |message: &str| Error::new(ErrorKind::Database, format!("--nodes auto: {message}"));
    let has_citus = "SELECT pg_catalog.to_regclass('pg_dist_node') IS NOT NULL";
    if !client.query_one(has_citus, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Err(refused("this database does not have the extension citus")
            .with_help("leave --nodes out, or name a database of a Citus cluster"));
    }
    if conninfo.hosts().iter().all(HostEntry::is_unix) {
        return Err(refused("the nodes of Citus are reached through TCP, with the sslmode of the URL")
            .with_help("name this server by its host name or address instead of a Unix socket"));
    }
    let rows = client.query(NODES, &[]).await.map_err(failed)?;
    let (usable, unusable): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.get(2) && row.get(3));
    if usable.is_empty() {
        return Err(refused("pg_dist_node has no active node with shards and metadata").with_help(
            "leave --nodes out, or see citus_add_node(), citus_set_node_property() and \
             start_metadata_sync_to_all_nodes()",
        ));
    }
    let unusable = unusable.iter().map(|row| {
        let problem = if row.get(2) {
            "it lacks the metadata of Citus, which start_metadata_sync_to_node() sends"
        } else {
            "it is disabled, see citus_activate_node()"
        };
        UnusableHost { endpoint: endpoint_of(row), problem: problem.to_owned() }
    });
    let nodes = usable.iter().map(endpoint_of);
    Ok((conninfo.with_hosts(nodes, endpoint), unusable.collect()))
}

/// Why the server of `client`, reached at the name `endpoint` of a node, is not used; `None` if it is that node.
pub(super) async fn problem_of(client: &Client, endpoint: &Endpoint) -> Option<String> {
    let answer = client.query_one(IS_NODE, &[&endpoint.host, &i32::from(endpoint.port)]).await;
    let is_node = answer.is_ok_and(|row| row.get(0));
    let problem =
        "another server answers at this address of pg_dist_node, which may be valid between the nodes only";
    (!is_node).then(|| problem.to_owned())
}

/// The name and port of the node in a row of [`NODES`].
fn endpoint_of(row: &Row) -> Endpoint {
    let port = row.get::<_, i32>(1);
    Endpoint { host: row.get(0), address: None, port: u16::try_from(port).unwrap_or_default() }
}

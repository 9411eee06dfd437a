//! Citus, which `scripts/citus-up` starts where it is installed.

use std::io::Write as _;

use super::TestDb;
use super::workplace::Workplace;

/// The variable that names the coordinator of a cluster with at least two nodes that hold shards.
const URL: &str = "CITUS_DATABASE_URL";

/// What Citus has and a load looks at, in a database without it.
pub(crate) const CATALOG: &str = r#"
    CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char" DEFAULT 'h', partkey text,
                                    repmodel "char" DEFAULT 's', colocationid int DEFAULT 1);
    CREATE TABLE pg_dist_shard (logicalrelid regclass, shardid bigint);
    CREATE TABLE pg_dist_placement (shardid bigint, groupid int);
    CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text LANGUAGE sql AS 'SELECT $2';
    CREATE FUNCTION run_command_on_shards(regclass, text) RETURNS TABLE (shardid bigint, success bool, result text)
        LANGUAGE sql AS $$SELECT 1::bigint, true, '0'::text$$;"#;

/// A workplace in the new schema `schema` of the cluster; `None`, and a line that shows in spite of cargo's capture, if no
/// cluster is named.
pub(crate) async fn workplace(schema: &str) -> Option<Workplace> {
    let Ok(url) = std::env::var(URL) else {
        let left_out =
            format!("\nLEFT OUT, as {URL} names no cluster (scripts/citus-up starts one): {schema}\n");
        // Not eprintln!, whose output is captured.
        let _ = std::io::stderr().write_all(left_out.as_bytes());
        return None;
    };
    let all = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
    let client = super::connect(&url).await;
    // Citus passes on one statement at a time.
    for statement in all.split("; ") {
        client.batch_execute(statement).await.unwrap();
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    let database = TestDb::at(format!("{url}{separator}options=-csearch_path%3D{schema}"));
    Some(Workplace::on(&database).await)
}

//! Where the time of a load went, by its report.

use crate::support::workplace::Workplace;

/// The server works on the last row for a while, after nothing is left to send.
#[tokio::test]
async fn the_work_of_the_server_after_the_last_row_is_a_phase_of_its_own() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY);
         CREATE FUNCTION ponder() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
         CREATE TRIGGER last AFTER INSERT ON t FOR EACH ROW WHEN (NEW.id = 3) EXECUTE FUNCTION ponder()",
    )
    .await
    .csv("d.csv", "id\n1\n2\n3\n");
    let ways: [&[&str]; 5] = [
        &["--mode", "copy"],
        &["--mode", "batch"],
        &["--mode", "rows"],
        &["--mode", "rows", "--autocommit", "--connections", "2"],
        &["--mode", "copy", "--connections", "2"],
    ];
    for way in ways {
        workplace.execute("TRUNCATE t").await;
        let load = [&["load", "d.csv", "-t", "t", "--append", "--no-analyze", "--json"], way].concat();
        let report = workplace.succeed(&load).json();
        let phase = |name: &str| report["phases"][format!("{name}_seconds")].as_f64().unwrap();
        assert!(phase("confirm") >= 0.2, "{way:?}: {report:#}");
        // Its parts are in it, and the phases are all of the time.
        assert!(phase("read") + phase("encode") + phase("confirm") <= phase("write"), "{way:?}: {report:#}");
        let together: f64 = ["prepare", "write", "finish", "commit"].map(phase).iter().sum();
        assert!((together - report["seconds"].as_f64().unwrap()).abs() < 1e-6, "{way:?}: {report:#}");
        assert!(phase("commit") > 0.0, "{way:?}: {report:#}");
    }
}

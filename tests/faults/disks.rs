//! Full disks: that of the rejects file, of the receipt, of the server. They are small file systems in memory, which only root
//! may mount, and not everywhere.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::loads::{DROP, HalfLoad, KINDS, RECORDS, TABLE, check_complete};
use crate::support::load::wait_for_no_session;
use crate::support::own_server::OwnServer;
use crate::support::workplace::Workplace;

/// A file system that is unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mount one of `size` on the new directory `path`; `None` where this is not possible.
    fn mount(path: &Path, size: &str) -> Option<SmallDisk> {
        fs::create_dir(path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "tmpfs"]).arg(path);
        match command.output() {
            Ok(ran) if ran.status.success() => return Some(SmallDisk(path.to_owned())),
            Ok(ran) => eprintln!("skipped: {}", String::from_utf8_lossy(&ran.stderr).trim()),
            Err(error) => eprintln!("skipped: mount: {error}"),
        }
        None
    }

    /// Fill what is free.
    fn fill(&self) {
        let full = fs::write(self.0.join("filler"), vec![0; 64 << 20]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    /// Give it another size.
    fn resize(&self, size: &str) {
        let ran = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status();
        assert!(ran.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

const NO_SPACE: &str = "No space left on device";

/// 4,000 records, of which every second is bad.
fn half_bad() -> String {
    let row = |id: u32| {
        if id.is_multiple_of(2) { format!("{id},v{id}\n") } else { format!("x{id},not a number\n") }
    };
    (0..4000).map(row).fold("id,v\n".to_owned(), |csv, row| csv + &row)
}

#[tokio::test]
async fn a_full_disk_for_the_rejects_undoes_a_load_and_an_import_writes_them_later() {
    let workplace = Workplace::with_sql(TABLE).await.csv("data.csv", half_bad());
    let Some(disk) = SmallDisk::mount(&workplace.path("small"), "16k") else { return };
    let load =
        ["load", "data.csv", "-t", "t", "--append", "--max-rejects", "2000", "--rejects", "small/bad.csv"];
    for mode in ["rows", "batch", "copy"] {
        let error = workplace.fail(&[&load[..], &["--mode", mode]].concat(), 1);
        assert!(error.contains("small/bad") && error.contains(NO_SPACE), "{mode}: {error}");
        assert_eq!(workplace.count("t").await, 1, "{mode}");
        wait_for_no_session(workplace.client()).await;
    }
    let import = [&load[..], &["--import-id", "i", "--chunk-rows", "1000"]].concat();
    let error = workplace.fail(&import, 1);
    assert!(error.contains("small/bad") && error.contains(NO_SPACE), "{error}");
    assert!(error.contains("4 chunks of import i, with 4000 records, are committed and stay"), "{error}");
    assert_eq!(workplace.count("t").await, 2001);
    disk.resize("16m");
    let check = async |load: &[&str]| {
        let ran = workplace.run(load);
        assert_eq!(ran.status.code(), Some(3), "{load:?}: {ran:#?}");
        assert_eq!(workplace.read("small/bad.csv").lines().count(), 2001, "{load:?}");
        assert_eq!(workplace.read("small/bad.log.jsonl").lines().count(), 2000, "{load:?}");
        assert_eq!(workplace.count("t").await, 2001, "{load:?}");
    };
    check(&import).await;
    for mode in ["rows", "batch", "copy"] {
        workplace.execute(&format!("{DROP}; {TABLE}")).await;
        check(&[&load[..], &["--mode", mode]].concat()).await;
    }
}

#[tokio::test]
async fn a_full_disk_for_the_receipt_is_said_to_be_after_the_commit() {
    for kind in KINDS {
        let workplace = Workplace::with_sql(TABLE).await;
        let Some(disk) = SmallDisk::mount(&workplace.path("small"), "16k") else { return };
        let load = HalfLoad::start_with(&workplace, kind, &["--receipt", "small/receipt.json"]).await;
        disk.fill();
        let ran = load.finish();
        let when = format!("{:?}", kind.flags);
        assert_eq!(ran.status.code(), Some(5), "{when}: {ran:#?}");
        assert!(
            ran.stderr.contains("small/receipt.json") && ran.stderr.contains(NO_SPACE),
            "{when}: {ran:#?}"
        );
        check_complete(&workplace, &when).await;
        // The one that was written at the beginning, which says that the load has not ended.
        assert_eq!(workplace.read_json("small/receipt.json")["outcome"], "unknown", "{when}");
    }
}

/// A tablespace `small` of `server` on a small disk, with nothing else of the server; `None` where that is not possible.
async fn small_tablespace(server: &OwnServer, workplace: &Workplace) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&server.dir().join("small"), "64k")?;
    let owner = fs::metadata(server.dir().join("server/data")).unwrap().uid();
    let space = disk.0.join("space");
    fs::create_dir(&space).unwrap();
    chown(&space, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(&space, Permissions::from_mode(0o700)).unwrap();
    workplace.execute(&format!("CREATE TABLESPACE small LOCATION '{}'", space.display())).await;
    Some(disk)
}

#[tokio::test]
async fn a_full_disk_while_an_import_rebuilds_its_indexes_leaves_that_to_the_next_run() {
    let server = OwnServer::start();
    let workplace = Workplace::on(&server.database()).await.csv("data.csv", crate::loads::csv(0, RECORDS));
    let Some(disk) = small_tablespace(&server, &workplace).await else { return };
    let index = "CREATE INDEX by_v ON public.t USING btree (v)";
    workplace.execute(&format!("CREATE TABLE t (id int, v text); {index} TABLESPACE small")).await;
    let load = ["load", "data.csv", "-t", "t", "--import-id", "i", "--defer-indexes", "always"];
    let error = workplace.fail(&load, 1);
    for says in [
        "failed to rebuild the indexes of t",
        NO_SPACE,
        "53100",
        "all rows are loaded",
        "1 chunk of import i, with 4000 records, is committed and stays",
        "indexes of t are missing until the import is finished: by_v",
        "run the same command again",
    ] {
        assert!(error.contains(says), "{says}: {error}");
    }
    wait_for_no_session(workplace.client()).await;
    let indexes = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 't'::regclass";
    assert_eq!(workplace.values::<String>(indexes).await, [""; 0]);
    assert_eq!(workplace.count("t").await, i64::from(RECORDS));
    disk.resize("64m");
    let ran = workplace.succeed(&load);
    assert!(ran.stdout.contains("loaded 0 rows into t"), "{ran:#?}");
    assert_eq!(workplace.values::<String>(indexes).await, [index]);
    assert_eq!(workplace.count("t").await, i64::from(RECORDS));
}

#[tokio::test]
async fn a_full_disk_of_the_server_undoes_a_load_and_an_import_goes_on_when_there_is_room() {
    let server = OwnServer::start();
    let workplace = Workplace::on(&server.database()).await;
    let Some(disk) = small_tablespace(&server, &workplace).await else { return };
    workplace.execute("SET default_tablespace = small").await;
    for kind in KINDS {
        let when = format!("{:?}", kind.flags);
        workplace.execute(&format!("{DROP}; {TABLE}")).await;
        // What was dropped is removed from the disk.
        workplace.execute("CHECKPOINT").await;
        disk.resize("64k");
        let csv = crate::loads::csv(0, RECORDS);
        let ran = workplace.run_with_input(&kind.arguments(), &csv);
        assert_eq!(ran.status.code(), Some(1), "{when}: {ran:#?}");
        assert!(ran.stderr.contains(NO_SPACE) && ran.stderr.contains("53100"), "{when}: {ran:#?}");
        assert_eq!(ran.stderr.contains(" of import i"), kind.is_import, "{when}: {ran:#?}");
        wait_for_no_session(workplace.client()).await;
        let rows = workplace.count("t").await - 1;
        assert!(rows == 0 || kind.is_import && rows % 1000 == 0, "{when}: {rows} rows");
        disk.resize("64m");
        kind.complete(&workplace, &when).await;
    }
}

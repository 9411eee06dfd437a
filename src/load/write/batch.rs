//! Mode batch: one `INSERT … SELECT FROM unnest(…)` a batch, with one array parameter a column.
//!
//! However many rows a batch has, it has no more parameters than the table has columns, so it never meets
//! the protocol's limit of 65,535. Columns that the server reads travel as arrays of text and are cast; so do
//! columns that are arrays themselves, because `unnest()` would take their elements apart.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error as PgError, Statement};

use crate::catalog::TableName;
use crate::load::chunk::Tuple;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::write::array::{Elements, array_of};
use crate::load::write::conflict::ConflictClause;
use crate::load::write::outcome::{Counts, Failed};
use crate::load::write::params::Raw;
use crate::postgres::pipeline::Pipeline;
use crate::sql::{quote, quote_list};
use crate::{Error, Result};

/// Batches on the way at once: enough that the server never waits for us, few enough to stay small.
const MOST_BATCHES: usize = 4;

/// A column whose values are long is sent before the batch is full, to keep memory bounded. In bytes.
const LARGE: usize = 1024 * 1024;

/// Prepared to insert batches over one connection.
#[derive(Debug)]
pub(crate) struct Batches {
    table: TableName,
    targets: Arc<ColumnMapping>,
    clause: Option<ConflictClause>,
    batch_size: usize,
    depth: usize,
    prepared: Option<(Arc<[ValueFormat]>, Statement)>,
}

impl Batches {
    /// Insert batches of `batch_size` rows, with up to `depth` on the way.
    pub(crate) fn new(
        table: TableName,
        targets: Arc<ColumnMapping>,
        clause: Option<ConflictClause>,
        batch_size: usize,
        depth: usize,
    ) -> Batches {
        Batches { table, targets, clause, batch_size, depth: depth.min(MOST_BATCHES), prepared: None }
    }

    /// Insert what `feed` gives; the first refused batch is the failure.
    ///
    /// # Errors
    /// The first batch that the server refuses, with its rows.
    pub(crate) async fn insert(
        &mut self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> Result<Counts, Failed> {
        let mut window = Pipeline::new(self.depth);
        let mut counts = Counts::default();
        let mut batch = Batch::default();
        let mut rows = 0;
        while let Some(chunk) = feed.next().await? {
            if batch.formats.as_ref() != Some(&chunk.formats) {
                // A batch has one statement, and a statement one set of formats.
                counts += self.send(client, &mut batch, &mut window).await?;
                batch = Batch::new(rows, Arc::clone(&chunk.formats));
            }
            for tuple in chunk.iter() {
                batch.push(tuple);
                rows += 1;
                if batch.rows() >= self.batch_size as u64 || batch.is_large() {
                    counts += self.send(client, &mut batch, &mut window).await?;
                }
            }
        }
        counts += self.send(client, &mut batch, &mut window).await?;
        while let Some(answer) = window.pop().await {
            counts += counted(answer)?;
        }
        Ok(counts)
    }

    /// Send what `batch` has, if anything; returns what was counted meanwhile.
    ///
    /// Answers are awaited until there is room for it: all of them where its statement has to be prepared, so that
    /// what the server refused before it is the error, and not that nothing can be prepared any more.
    async fn send<'c>(
        &mut self,
        client: &'c Client,
        batch: &mut Batch,
        window: &mut Pipeline<BoxFuture<'c, Answer>>,
    ) -> Result<Counts, Failed> {
        let mut counts = Counts::default();
        let Some(formats) = batch.formats.clone().filter(|_| batch.rows() > 0) else { return Ok(counts) };
        let is_prepared = self.prepared.as_ref().is_some_and(|(prepared_for, _)| *prepared_for == formats);
        while !is_prepared || window.is_full() {
            let Some(answer) = window.pop().await else { break };
            counts += counted(answer)?;
        }
        let statement = self.statement(client, &formats).await?;
        window.push(insert_one(client, statement, batch.take(&self.targets)).boxed()).await;
        Ok(counts)
    }

    /// The statement for `formats`, prepared when they change.
    async fn statement(&mut self, client: &Client, formats: &Arc<[ValueFormat]>) -> Result<Statement> {
        if let Some((prepared_for, statement)) = &self.prepared
            && prepared_for == formats
        {
            return Ok(statement.clone());
        }
        let (mut types, mut arguments, mut names, mut values) = (vec![], vec![], vec![], vec![]);
        for (index, target) in self.targets.columns.iter().enumerate() {
            let name = format!("c{index}");
            if formats[index] == ValueFormat::Text {
                types.push(Type::TEXT_ARRAY);
                let value = target.column.read_with_modifier(&name);
                let value = value.unwrap_or_else(|| format!("CAST({name} AS {})", target.column.base_name));
                values.push(format!("{value} AS {}", quote(&target.column.name)));
            } else {
                types.push(array_of(target.column.array_oid, &target.column.type_name));
                values.push(format!("{name} AS {}", quote(&target.column.name)));
            }
            arguments.push(format!("${}", index + 1));
            names.push(name);
        }
        let source = format!(
            "(SELECT {}, ord FROM unnest({}) WITH ORDINALITY u({}, ord)) s",
            values.join(", "),
            arguments.join(", "),
            names.join(", ")
        );
        let (insert, columns) = (self.targets.insert_into(&self.table), quote_list(self.targets.names()));
        let sql = match &self.clause {
            Some(clause) => clause.insert_from(&insert, &columns, &source, "ord"),
            None => format!("{insert} SELECT {columns} FROM {source}"),
        };
        let statement = client.prepare_typed(&sql, &types).await.map_err(|error| {
            Error::database(&format!("prepare the batch INSERT into {}", self.table), &error)
        })?;
        self.prepared = Some((Arc::clone(formats), statement.clone()));
        Ok(statement)
    }
}

/// A batch and its statement, answered.
type Answer = Result<Counts, (PgError, (u64, u64))>;

async fn insert_one(client: &Client, statement: Statement, batch: Full) -> Answer {
    let Full { arrays, rows } = batch;
    let parameters = arrays.into_iter().map(|array| Raw { value: Some(array), format: ValueFormat::Binary });
    let refused = |error| (error, rows);
    if statement.columns().is_empty() {
        let inserted = client.execute_raw(&statement, parameters).await.map_err(refused)?;
        return Ok(Counts { inserted, updated: 0 });
    }
    let answer = client.query_raw(&statement, parameters).await.map_err(refused)?;
    let mut answer = std::pin::pin!(answer);
    let mut counts = Counts::default();
    while let Some(row) = futures::TryStreamExt::try_next(&mut answer).await.map_err(refused)? {
        counts += counts_of(&row);
    }
    Ok(counts)
}

/// The counts that a statement of [`ConflictClause::insert_from`] returns.
pub(crate) fn counts_of(row: &tokio_postgres::Row) -> Counts {
    Counts { inserted: row.get::<_, i64>(0) as u64, updated: row.get::<_, i64>(1) as u64 }
}

fn counted(answer: Answer) -> Result<Counts, Failed> {
    answer.map_err(|(error, rows)| Failed::Server { error, rows: Some(rows) })
}

/// Rows being gathered, column by column.
#[derive(Default)]
struct Batch {
    columns: Vec<Elements>,
    formats: Option<Arc<[ValueFormat]>>,
    /// Rows before it, and behind its last one.
    first: u64,
    end: u64,
}

/// A batch on its way: one binary array a column.
struct Full {
    arrays: Vec<Bytes>,
    /// The first and the last of its rows.
    rows: (u64, u64),
}

impl Batch {
    fn new(first: u64, formats: Arc<[ValueFormat]>) -> Self {
        let columns = formats.iter().map(|_| Elements::new()).collect();
        Batch { columns, formats: Some(formats), first, end: first }
    }

    fn rows(&self) -> u64 {
        self.end - self.first
    }

    fn push(&mut self, tuple: Tuple) {
        for (column, field) in self.columns.iter_mut().zip(tuple) {
            column.push(field.as_deref());
        }
        self.end += 1;
    }

    fn is_large(&self) -> bool {
        self.columns.iter().any(|column| column.bytes.len() > LARGE)
    }

    /// The arrays of what was gathered; an empty batch stays.
    fn take(&mut self, targets: &ColumnMapping) -> Full {
        let formats = self.formats.clone().expect("a batch that has rows knows their formats");
        let empty = Batch::new(self.end, Arc::clone(&formats));
        let full = std::mem::replace(self, empty);
        let (rows, last) = (full.rows() as i32, full.end - 1);
        let arrays = full.columns.into_iter().enumerate().map(|(index, column)| {
            let element = if formats[index] == ValueFormat::Text {
                Type::TEXT.oid()
            } else {
                targets.columns[index].column.column_type.oid
            };
            column.into_array(element, rows)
        });
        Full { arrays: arrays.collect(), rows: (full.first, last) }
    }
}

//! Rows of a file as lines of JSON: a value for each column.

use std::fs::File;
use std::io;
use std::sync::Arc;

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use score::{ElementType, ModelMetadata};
use wire::{Body, Declared, Limits};

use super::super::lines::{Line, Position, Window};
use super::super::run::{WINDOW_BYTES, WINDOW_LINES};
use super::super::window::Around;
use super::cells::{Cells, cells};
use super::columns::{Column, columns_of};
use super::pages::{Held, Pages, Source};
use super::{ParquetInputError, footer, guarded};
use crate::problem::Problem;

/// The rows of a file, from the first one on.
pub(crate) struct ParquetRows {
    source: Arc<Source>,
    metadata: Arc<ParquetMetaData>,
    columns: Vec<Column>,
    /// Whether a row is the value of its only column.
    bare: bool,
    /// Whether floats become doubles.
    wide: bool,
    held: Arc<Held>,
    /// The columns of the current row group, the rows that it still has, and the next one.
    cells: Vec<Box<dyn Cells>>,
    left: u64,
    group: usize,
    done: u64,
    all: u64,
    /// Bytes of the file.
    length: u64,
    /// Of a longer line only the start is kept.
    max_bytes: usize,
    /// A window that was read and is to come again.
    again: Option<Window>,
}

impl ParquetRows {
    /// Opens a file. `max_bytes` bounds a row as a line of JSON.
    ///
    /// # Errors
    /// If it cannot be read, or has a column that no model takes.
    pub(crate) fn open(
        file: File,
        model: &ModelMetadata,
        max_bytes: usize,
    ) -> Result<Self, ParquetInputError> {
        let length = file.metadata().map_or(0, |found| found.len());
        let source = Arc::new(Source(file));
        guarded(move || {
            footer::check(&source)?;
            let metadata = ParquetMetaDataReader::new().parse_and_finish(&*source)?;
            let columns = columns_of(metadata.file_metadata().schema_descr())?;
            let (inputs, optional) = (&model.signature.inputs, &model.signature.optional);
            let mut types = inputs
                .iter()
                .chain(optional)
                .map(|input| input.element_type);
            let takes_doubles = types.any(|ty| ty == ElementType::Float64);
            let all = metadata.row_groups().iter();
            let all = all.filter_map(|group| u64::try_from(group.num_rows()).ok());
            Ok(Self {
                bare: columns.len() == 1 && !columns[0].lists.is_empty() && inputs.len() == 1,
                wide: takes_doubles,
                all: all.fold(0, u64::saturating_add),
                source,
                metadata: Arc::new(metadata),
                columns,
                held: Arc::default(),
                cells: Vec::new(),
                left: 0,
                group: 0,
                done: 0,
                length,
                max_bytes,
                again: None,
            })
        })
    }

    /// What stands around the rows of a request. A list that is the only column of a file is the row itself, for the only input
    /// of a model.
    pub(crate) fn around(&self, model: &ModelMetadata, limits: Limits) -> Around {
        let rows = Around {
            is_of_values: true,
            ..Around::default()
        };
        let names: Vec<&str> = self.columns.iter().map(|column| &column.name[..]).collect();
        let Some(names) = serde_json::to_string(&names).ok().filter(|_| !self.bare) else {
            return rows;
        };
        let named = Around {
            head: format!("{{\"dataframe_split\":{{\"columns\":{names},\"data\":[").into_bytes(),
            tail: b"]}}",
            is_of_values: true,
        };
        match self.is_in_order(&rows, &named, model, limits) {
            true => rows,
            false => named,
        }
    }

    /// Whether rows mean the same without the names of their columns, and are read faster: a row of different numbers shows it.
    fn is_in_order(
        &self,
        rows: &Around,
        named: &Around,
        model: &ModelMetadata,
        limits: Limits,
    ) -> bool {
        let signature = &model.signature;
        if signature.inputs.len() != 1 || !signature.optional.is_empty() {
            return false;
        }
        let numbers: Vec<usize> = (0..self.columns.len()).collect();
        let Ok(text) = serde_json::to_vec(&numbers) else {
            return false;
        };
        let line = Line {
            number: 1,
            bytes: text.len() as u64,
            text,
            end: Position::default(),
        };
        let read = |around: &Around| {
            let body = around.body(&[&line]);
            match wire::decode(&body, Declared::default(), model, limits) {
                Ok(Body::Rows(read)) => Some(read.inputs),
                _ => None,
            }
        };
        let read = [read(rows), read(named)];
        let [Some([one]), Some([other])] = read.each_ref().map(Option::as_deref) else {
            return false;
        };
        // A half or a byte is not as many different numbers as there may be columns.
        let is_exact = matches!(
            one.tensor.element_type(),
            ElementType::Float32 | ElementType::Float64 | ElementType::Int32 | ElementType::Int64
        );
        is_exact && one == other
    }

    /// Tries the rows of the first window one by one until one can be read. All of them will come again.
    ///
    /// # Errors
    /// If the file is damaged, or all of them are refused for the same reason: then it is one of the columns.
    pub(crate) fn check(
        &mut self,
        model: &ModelMetadata,
        limits: Limits,
    ) -> io::Result<Result<(), Problem>> {
        let first = self.window(WINDOW_LINES, WINDOW_BYTES)?;
        let around = self.around(model, limits);
        let mut refusal: Option<Problem> = None;
        // Of a line that is too long only the start is there.
        let lines = first.iter().flat_map(|window| &window.lines);
        for line in lines.filter(|line| !line.is_cut()) {
            let body = around.body(&[line]);
            let read = wire::decode(&body, Declared::default(), model, limits);
            let problem = read
                .err()
                .map(|error| Problem::from_payload(error, limits.max_bytes));
            let is_other = |problem: &Problem| {
                let first = refusal.as_ref();
                first.is_some_and(|first| first.message != problem.message)
            };
            if problem.as_ref().is_none_or(is_other) {
                refusal = None;
                break;
            }
            refusal = problem;
        }
        self.again = first;
        Ok(refusal.map_or(Ok(()), Err))
    }

    /// The next rows, at most so many; they end with the one that reaches so many bytes. `None` at the end of the file.
    ///
    /// # Errors
    /// If the file is damaged.
    pub(crate) fn window(&mut self, rows: usize, bytes: usize) -> io::Result<Option<Window>> {
        if let Some(again) = self.again.take() {
            return Ok(Some(again));
        }
        let read = guarded(|| -> Result<_, ParquetInputError> {
            let mut window = Window::default();
            let mut held = 0;
            while window.lines.len() < rows && held < bytes {
                let Some(line) = self.line()? else { break };
                held += line.text.len();
                window.end = line.end;
                window.lines.push(line);
            }
            Ok((!window.lines.is_empty()).then_some(window))
        });
        read.map_err(io::Error::other)
    }

    fn line(&mut self) -> Result<Option<Line>, ParquetInputError> {
        while self.left == 0 {
            if !self.open_group()? {
                return Ok(None);
            }
        }
        self.left -= 1;
        self.done += 1;
        let (mut text, mut left_out) = (Vec::new(), 0);
        for (at, cells) in self.cells.iter_mut().enumerate() {
            if !self.bare {
                text.push(if at == 0 { b'[' } else { b',' });
            }
            left_out += cells.write(&mut text, self.max_bytes)?;
            if text.len() > self.max_bytes {
                left_out += text.len() - self.max_bytes;
                text.truncate(self.max_bytes);
            }
        }
        if !self.bare {
            text.push(b']');
        }
        let part = self.done as f64 / self.all.max(1) as f64;
        Ok(Some(Line {
            number: self.done,
            // What is cut says so.
            bytes: (text.len() + if left_out > 0 { left_out.max(3) } else { 0 }) as u64,
            text,
            end: Position {
                line: self.done,
                byte: (self.length as f64 * part) as u64,
            },
        }))
    }

    /// Opens the columns of the next row group; `false` behind the last one.
    fn open_group(&mut self) -> Result<bool, ParquetInputError> {
        for (cells, column) in self.cells.iter_mut().zip(&self.columns) {
            if !cells.is_done()? {
                let column = &column.name;
                return Err(damaged(format!(
                    "column {column:?} has more values than its row group has rows"
                )));
            }
        }
        // Their pages are no longer held.
        self.cells.clear();
        let Some(group) = self.metadata.row_groups().get(self.group) else {
            return Ok(false);
        };
        let rows = usize::try_from(group.num_rows());
        let rows = rows.map_err(|_| damaged("a row group has fewer rows than none".to_owned()))?;
        let cells = self.columns.iter().map(|column| {
            let chunk = group.columns().get(column.leaf);
            let chunk = chunk.ok_or_else(|| damaged("a row group lacks a column".to_owned()))?;
            let pages = Pages::new(&self.source, chunk, rows, &self.held)?;
            Ok(cells(
                column,
                chunk.column_descr_ptr(),
                pages,
                &self.held,
                self.wide,
            ))
        });
        self.cells = cells.collect::<Result<_, ParquetInputError>>()?;
        self.left = rows as u64;
        self.group += 1;
        Ok(true)
    }
}

fn damaged(what: String) -> ParquetInputError {
    parquet::errors::ParquetError::General(what).into()
}

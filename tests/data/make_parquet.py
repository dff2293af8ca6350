"""Writes tests/data/parquet: small files as other programs write them by default, or as their readers ask for.

pip install pandas pyarrow polars duckdb fastparquet; they are committed, so that no test needs these packages.
"""
import datetime
import pathlib

import duckdb
import fastparquet
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = pathlib.Path(__file__).parent / "parquet"
FOLDER.mkdir(exist_ok=True)
ROWS = 40

# Three columns for a model that takes rows of three floats.
number = np.arange(1, ROWS + 1)
table = pd.DataFrame({"a": number / 4, "b": np.zeros(ROWS), "c": np.ones(ROWS)}, dtype="float32")

# Rows that were chosen keep their numbers as an index, which becomes the column __index_level_0__; the third row has no c.
missing = table.copy()
missing.loc[2, "c"] = None
chosen = pa.Table.from_pandas(pd.concat([missing, table[:1]])[:ROWS].set_index(number * 2), preserve_index=True)
nulls = chosen.column("c").combine_chunks()
nulls = pa.array(nulls.to_pylist(), pa.float32(), mask=np.isnan(nulls.to_numpy(zero_copy_only=False)))
pq.write_table(chosen.set_column(2, "c", nulls), FOLDER / "pandas.parquet")

pl.DataFrame(table).write_parquet(FOLDER / "polars.parquet")
duckdb.sql(f"copy (select * from \"table\") to '{FOLDER}/duckdb.parquet' (format parquet)")
duckdb.sql(f"copy (select * from \"table\") to '{FOLDER}/duckdb_v2.parquet' (format parquet, parquet_version v2, codec zstd)")
fastparquet.write(str(FOLDER / "fastparquet.parquet"), table, compression="GZIP")

# Vectors, with pages of the second form and a row group for every 16 rows.
vectors = pa.table({"embedding": pa.array(table.to_numpy().tolist(), pa.list_(pa.float32()))})
pq.write_table(vectors, FOLDER / "vectors.parquet", data_page_version="2.0", row_group_size=16)

# Texts as differences, in both of the format's ways.
texts = pa.table({"a": [f"text {i // 3:04}" for i in range(ROWS)], "b": ["é" * (i % 5) for i in range(ROWS)]})
pq.write_table(
    texts,
    FOLDER / "texts.parquet",
    use_dictionary=False,
    column_encoding={"a": "DELTA_BYTE_ARRAY", "b": "DELTA_LENGTH_BYTE_ARRAY"},
    data_page_size=200,
)

dates = pa.table({"a": [1.0], "when": [datetime.datetime(2020, 1, 1)]})
pq.write_table(dates, FOLDER / "dates.parquet")
pq.write_table(pa.Table.from_pandas(table), FOLDER / "lz4.parquet", compression="lz4")

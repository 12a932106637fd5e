"""Accuracy of a picked folder, by a stranger: nothing of niwaki, torch, transformers or datasets is imported.

    python benchmarks/outsider.py PICKED_FOLDER ../shared/data/fashion_mnist/test.parquet
    python benchmarks/outsider.py PICKED_FOLDER ../shared/data/sick/test.parquet sentence1 sentence2

Without a column's name the rows are images. Needs onnxruntime, numpy, pyarrow, and pillow for images or tokenizers for
texts. Batch 1, row by row, through the folder's own predict.py.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet


def main(folder: str, table: str, *columns: str) -> None:
    sys.path.insert(0, str(Path(folder).absolute()))
    import predict

    rows = parquet.read_table(table).to_pylist()
    given = [[row[column] for column in columns] if columns else [image(row)] for row in rows]
    answers = [int(np.argmax(predict.logits(*inputs))) for inputs in given]
    right = sum(answer == row["label"] for answer, row in zip(answers, rows, strict=True))
    print(f"{right} of {len(rows)} right: accuracy {right / len(rows)}")


def image(row: dict) -> object:
    from PIL import Image

    return Image.open(io.BytesIO(row["image"]["bytes"]))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Accuracy of a picked folder, by a stranger: nothing of niwaki, torch, transformers or datasets is imported.

    python benchmarks/outsider.py PICKED_FOLDER ../shared/data/fashion_mnist/test.parquet

Needs onnxruntime, numpy, pillow and pyarrow. Batch 1, row by row, through the folder's own predict.py.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image


def main(folder: str, table: str) -> None:
    sys.path.insert(0, str(Path(folder).absolute()))
    import predict

    rows = parquet.read_table(table).to_pylist()
    answers = [int(np.argmax(predict.logits(Image.open(io.BytesIO(row["image"]["bytes"]))))) for row in rows]
    right = sum(answer == row["label"] for answer, row in zip(answers, rows, strict=True))
    print(f"{right} of {len(rows)} right: accuracy {right / len(rows)}")


if __name__ == "__main__":
    main(*sys.argv[1:])

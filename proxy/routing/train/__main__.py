"""The command that trains the prompt classifier."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from proxy.routing.classify.trained import Model
from proxy.routing.train.data import read_data

# The order of additions, and so the last digits, must not depend on the machine: set before numpy is imported.
SAME_EVERYWHERE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell"}


def main() -> None:
    """Read the data, fit, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m proxy.routing.train", description="Train the prompt classifier.")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the training data")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    os.environ.update(SAME_EVERYWHERE)
    try:
        from proxy.routing.train.fit import train
    except ImportError as exc:
        sys.exit(f"The training needs numpy and scikit-learn ({exc}); install the extra `dev`.")
    try:
        data = read_data(arguments.data)
    except OSError as exc:
        sys.exit(f"cannot read the training data: {exc}")
    content = train(data)
    arguments.out.write_bytes(content)
    model = Model(content)
    sys.stdout.write(f"{arguments.out}: {len(content)} bytes, version {model.version}, sha256 {model.sha256}\n")


if __name__ == "__main__":
    main()

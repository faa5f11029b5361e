"""`gnj serve` with what a run wants to be wrong with it: a mutation, a clock. `python -m benchmarks.reliability.serve …`"""

from __future__ import annotations

import os
import sys

from benchmarks.reliability import mutations, skew


def main() -> None:
    """Serves, with the arguments of `gnj`."""
    mutations.apply_from_environment()
    skew.apply(float(os.environ.get(skew.VARIABLE) or 0))
    from gnj.cli import main as gnj

    gnj(sys.argv[1:])


if __name__ == "__main__":
    main()

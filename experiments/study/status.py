"""How far the study is: `make study-status`."""

from __future__ import annotations

from experiments.study.plan import status

if __name__ == "__main__":
    print("\n".join(status()))

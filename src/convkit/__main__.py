"""``python -m convkit`` is the command ``convkit``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())

"""Print pip constraints that hold every dependency in setup.cfg at the lowest version that it declares."""

from __future__ import annotations

import configparser
import re
from pathlib import Path


def main() -> None:
    """One `name==version` for each `name>=version`, whichever extra it is in."""
    metadata = configparser.ConfigParser()
    metadata.read(Path(__file__).parent.parent / "setup.cfg")
    lists = [metadata["options"]["install_requires"], *metadata["options.extras_require"].values()]
    lines = [line.strip() for text in lists for line in text.splitlines()]
    bounds = {match[1]: match[2] for line in lines if (match := re.match(r"([\w.-]+)>=([\w.]+)", line))}
    for name, version in sorted(bounds.items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()

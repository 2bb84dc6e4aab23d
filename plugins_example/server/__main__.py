"""Run the server: ``python -m plugins_example.server``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import uvicorn

from plugins_example.server.app import create_app


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--photons",
        type=Path,
        default=Path(__file__).with_name("photons"),
        help="directory of the photons",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    uvicorn.run(
        create_app(arguments.photons),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

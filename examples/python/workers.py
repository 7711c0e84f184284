"""The same service in several processes, for gunicorn:

    ROOT=/opt/uplifted gunicorn --workers 4 --worker-class uvicorn_worker.UvicornWorker workers:app

Each worker loads this module after it was forked, so each has an ``AsyncOps`` of its own. What they count is one sum, on the
page of any of them; one of them has the address of ``metrics.listen``, and another one takes it over.
"""

import os
from pathlib import Path

from app import Options, create_app

app = create_app(
    Options(
        root=Path(os.environ.get("ROOT", ".")),
        database=None,
        listen=("127.0.0.1", 0),
        tools=None,
        rate=float(os.environ.get("RATE", "100")),
        check_every=30.0,
        backup_every=None,
        until_stdin_closes=False,
    )
)

"""A parent that loads and forks workers, as `gunicorn --preload` and Celery's prefork pool do: `python app.py`.

The parent starts Herz once. Each forked worker starts anew by itself: its own watches, its own objects; the parent's
are neither used nor closed in it. Then the file changes, and every worker follows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from herz import Herz

WORKERS = 3

herz = Herz("application.yml")


@herz.properties("mailer")
@dataclass(frozen=True)
class MailerConfig:
    """Who sends, and how much."""

    sender: str
    per_minute: int


@herz.refresh_scope
class Mailer:
    """Stands for a connection to a mail server: one that must not be shared by processes."""

    def __init__(self, config: MailerConfig) -> None:
        self.config = config
        self.pid = os.getpid()

    def send(self, to: str) -> dict[str, object]:
        """What was sent, by whom."""
        assert self.pid == os.getpid()
        return {"to": to, "from": self.config.sender, "pid": self.pid}


def work(jobs: TextIO, results: TextIO) -> None:
    """Take jobs until there are no more."""
    for to in jobs:
        results.write(json.dumps(herz.get(Mailer).send(to.strip())) + "\n")
        results.flush()


class Worker:
    """A forked process that is sent jobs through a pipe."""

    def __init__(self) -> None:
        job_end, jobs = os.pipe()
        results, result_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(jobs)  # else its own jobs would never end
            status = 1
            try:
                with os.fdopen(job_end) as mine, os.fdopen(result_end, "w") as answers:
                    work(mine, answers)
                herz.stop()
                status = 0
            finally:
                os._exit(status)
        os.close(job_end)
        os.close(result_end)
        self._jobs, self._results = os.fdopen(jobs, "w"), os.fdopen(results)

    def send(self, to: str) -> dict[str, object]:
        """Have one mail sent."""
        self._jobs.write(f"{to}\n")
        self._jobs.flush()
        return json.loads(self._results.readline())

    def end(self) -> int:
        """Send no more jobs, and wait; the exit status."""
        self._jobs.close()
        self._results.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main() -> int:
    with herz:
        parents = herz.get(Mailer)
        workers: list[Worker] = []
        for _ in range(WORKERS):
            workers.append(Worker())
        for worker in workers:
            print(worker.send("ada@example.org"))

        file = Path("application.yml")
        file.write_text(file.read_text().replace("shop@", "orders@"))
        deadline = time.monotonic() + 20
        for worker in workers:
            while (sent := worker.send("grace@example.org"))["from"] != "orders@example.org":
                assert time.monotonic() < deadline, "a worker does not follow"
                time.sleep(0.02)
            print(sent)

        herz.wait_for(lambda snapshot: snapshot["mailer.sender"] == "orders@example.org", timeout=10)
        assert herz.get(Mailer).pid == os.getpid() == parents.pid
        workers.reverse()  # a worker holds the writing ends of those that were forked before it
        return max(worker.end() for worker in workers)


if __name__ == "__main__":
    sys.exit(main())

"""Jobs in a host: they run by themselves, in one process, and keep nothing alive."""

from __future__ import annotations

import time

from scene import RunPython, Service
from uplifted_ops import Ops

#: A backup each second, to a target that is an object of this process.
EVERY_SECOND = {"job": [{"name": "often", "operation": "backup.create", "schedule": "* * * * * *"}]}


def test_a_scheduled_job_runs_and_calls_a_target_of_this_process(service: Service) -> None:
    from targets import MemoryTarget

    target = MemoryTarget()
    with Ops(service.settings | EVERY_SECOND, root=service.root, targets={"memory": target}) as ops:
        until = time.monotonic() + 60
        while (job := ops.schedule.list().jobs[0]).last_success_at is None:
            assert time.monotonic() < until, job
            time.sleep(0.05)
        listed = ops.schedule.list()
        assert listed.role == "leader" and listed.leader is not None and listed.leader.is_this_process
        assert job.words == "every second" and job.last_run is not None and job.last_run.why == "scheduled"
        assert ops.backup.list().snapshots
        run = ops.schedule.run(job="often") if job.running is None else None
        assert run is None or run.outcome in ("done", "skipped")


def test_an_interpreter_with_a_schedule_ends(service: Service, run_python: RunPython) -> None:
    program = """
import sys
from uplifted_ops import Ops
settings = {"backup": {"include": ["data"], "schedule": "0 2 * * *"}, "job": [
    {"name": "often", "operation": "status", "schedule": "* * * * * *"}]}
ops = Ops(settings, root=sys.argv[1])
print(ops.schedule.list().jobs[0].name)
if sys.argv[2] == "close":
    ops.close()
"""
    for how in ("close", "leave"):
        done = run_python(program, service.root, how)
        assert (done.returncode, done.stdout, done.stderr) == (0, "backup\n", ""), done


def test_a_forked_child_does_not_lead_and_takes_over_when_its_parent_dies(service: Service, run_python: RunPython) -> None:
    program = """
import os, signal, sys, time
from uplifted_ops import Ops
settings = {"job": [{"name": "often", "operation": "status", "schedule": "* * * * * *"}]}
def wait(ops, role):
    until = time.monotonic() + 30
    while ops.schedule.list().role != role:
        assert time.monotonic() < until, ops.schedule.list()
        time.sleep(0.02)
def make():
    return Ops(settings, root=sys.argv[1])
parent = os.fork()
if parent == 0:
    # The master of a server that forks its workers, once it leads.
    ops = make()
    wait(ops, "leader")
    child = os.fork()
    if child == 0:
        own = make()
        wait(own, "follower")
        os.kill(os.getppid(), signal.SIGKILL)
        wait(own, "leader")
        print("took over", flush=True)
        own.close()
        os._exit(0)
    time.sleep(60)
os.waitpid(parent, 0)
"""
    done = run_python("import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + program, service.root)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == "took over\n", done

"""The control plane's API from Python: `ControlPlane`.

async with ControlPlane("http://127.0.0.1:4379") as plane:
    pay = plane.namespace("pay")
    release = await pay.release("pool doubled", publish=False)
    if await pay.verify_atomicity("sha-4f1c", release.number): ...
"""

from herz.client.namespace import Namespace
from herz.client.plane import ControlPlane
from herz.client.problems import DraftConflict, NotThere
from herz.client.replies import AuditState, Built, Draft, Impact, Instance, Moved, Problem, Touched, Validation

__all__ = [
    "AuditState",
    "Built",
    "ControlPlane",
    "Draft",
    "DraftConflict",
    "Impact",
    "Instance",
    "Moved",
    "Namespace",
    "NotThere",
    "Problem",
    "Touched",
    "Validation",
]

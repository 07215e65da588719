"""The control plane's API from Python: `ControlPlane`.

async with ControlPlane("http://127.0.0.1:4379") as plane:
pay = plane.namespace("pay")
release = await pay.release("pool doubled", publish=False)
if await pay.verify_atomicity("sha-4f1c", release.number): ...
"""

from herz.client.namespace import Namespace
from herz.client.plane import ControlPlane
from herz.client.problems import ApprovalNeeded, DraftConflict, NotThere
from herz.client.replies import AuditState, Built, Draft, Impact, Instance, Moved, Problem, Touched, Validation
from herz.release.approval import Approval, ApprovalState, Policy, Publication, Weighed
from herz.release.atomicity import Verdict
from herz.release.channel import Release
from herz.release.content import Content, LayerText
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Check, Phase, Rollout
from herz.release.rollout_step import Step
from herz.release.roster import Participant, Roster

__all__ = [
    "Approval",
    "ApprovalNeeded",
    "ApprovalState",
    "AuditState",
    "Built",
    "Check",
    "Content",
    "ControlPlane",
    "Draft",
    "DraftConflict",
    "Impact",
    "Instance",
    "LayerText",
    "Moved",
    "Namespace",
    "NotThere",
    "Participant",
    "Phase",
    "Plan",
    "PlanKind",
    "Policy",
    "Problem",
    "Publication",
    "Release",
    "Rollout",
    "Roster",
    "Step",
    "Touched",
    "Validation",
    "Verdict",
    "Weighed",
]

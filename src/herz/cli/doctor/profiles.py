"""Profiles that do nothing, and files that wait for one."""

from __future__ import annotations

import os
from collections.abc import Iterator

from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.sources.file_patterns import display


def check(examination: Examination) -> Iterator[Finding]:
    """Each active profile without a file, and each file whose profile is not active."""
    scans = [found for _, found in examination.scans()]
    profiles = examination.settings.profiles
    stems = [os.path.splitext(os.path.basename(member.path))[0] for found in scans for member in found.members]
    waiting = [path for found in scans for path in found.inactive] + _beside(examination)
    for profile in profiles:
        if scans and not any(stem.endswith(f"-{profile}") for stem in stems):
            yield Finding(
                "profile-without-file",
                "warning",
                f"profile {profile} is active, but no file is for it"
                + (f" (there are {', '.join(sorted(map(os.path.basename, waiting)))})" if waiting else ""),
                f"HERZ_PROFILES or herz.profiles.active: {', '.join(profiles)}",
                f"make {_variant(scans[0].members[0].path if scans[0].members else 'application.yml', profile)}, "
                "or mend the profile's name",
            )
    for path in sorted(set(waiting)):
        name = os.path.splitext(os.path.basename(path))[0]
        yield Finding(
            "inactive-profile-file",
            "note",
            f"{display(path, os.getcwd())} is not read, for its profile is not active",
            display(path, os.getcwd()),
            f"to read it, activate its profile: HERZ_PROFILES={name.rpartition('-')[2]}",
        )


def _variant(path: str, profile: str) -> str:
    stem, ending = os.path.splitext(path)
    return display(f"{stem}-{profile}{ending}", os.getcwd())


def _beside(examination: Examination) -> list[str]:
    """Variants that lie beside a file which is named by itself: nobody looks into its folder."""
    found: list[str] = []
    for _, scan in examination.scans():
        loaded = {member.path for member in scan.members}
        for member in scan.members:
            if member.root:
                continue
            stem, ending = os.path.splitext(member.path)
            folder = os.path.dirname(member.path)
            for name in os.listdir(folder) if os.access(folder, os.R_OK) else ():
                path = os.path.join(folder, name)
                if path.startswith(f"{stem}-") and path.endswith(ending) and path not in loaded:
                    found.append(path)
    return found

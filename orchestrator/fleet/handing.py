"""Groups for a scheduler that is not ours to drive: what each of its jobs is to run, as text. Pure.

A job runs `levelbench run-group runs/<run> <group>` with LEVELBENCH_ATTEMPT set, on a host of its own; when all have
ended, `levelbench collect <run>` makes one run of what they published (docs/fleet.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum

from orchestrator.domain.plan import GroupPlan, Plan

SPARE = 2.0  # a job may take twice what the plan estimates, and an hour more
SPARE_MIN = 60


class Format(str, Enum):
    """GITHUB is one line, as `strategy.matrix` of GitHub Actions takes it; JSONL has a line for each group."""

    GITHUB = "github"
    JSONL = "jsonl"


def limit_minutes(group: GroupPlan) -> int:
    """How long the job of a group may take, with time to spare over the estimate."""
    return round((group.measure_s + group.prepare_s) / 60 * SPARE) + SPARE_MIN


def text(plan: Plan, format_: Format, *, run: str = "", pins: Mapping[str, str] = {}) -> str:
    """The groups of a plan. `run` names the run that was begun for them, empty where none was; `host` is empty where
    any host will do."""
    rows = [_row(group, run, pins.get(group.model.id, "")) for group in plan.groups]
    if format_ is Format.GITHUB:
        return json.dumps({"include": rows}) + "\n"
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def _row(plan: GroupPlan, run: str, host: str) -> dict[str, str | int]:
    of = plan.group
    return {
        "run": run,
        "group": of.id,
        "backend": of.backend,
        "model": of.model,
        "accelerator": of.accelerator.value if of.accelerator else "",
        "gpus": of.gpus,
        "cells": len(of.loads),
        "minutes": limit_minutes(plan),
        "host": host,
    }

"""A matrix becomes a plan: cells by deployment, the order by the seed, the control among them, names that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.contract import Accelerator, HostTraits
from orchestrator import matrix
from orchestrator.catalog.matrices import MatrixFile
from orchestrator.domain.cell import Load, Role, RuntimeKind
from orchestrator.domain.matrix import Matrix, Pattern, expand, faults
from orchestrator.domain.plan import Plan
from orchestrator.domain.workload import Arrivals, SystemPrompt, Workload
from orchestrator.errors import RequestError
from orchestrator.matrix import Wish
from orchestrator.planning import Request
from tests.fakes.backend import FakeBackend

FAKES = {name: FakeBackend(name) for name in ("first", "second", "third")}
HOST = HostTraits(accelerator=Accelerator.CPU, cpus=2, memory_bytes=2**33)
WORKLOADS = {
    name: Workload(
        id=name,
        title=name,
        users=(1, 4),
        ramp_s=1,
        duration_s=10,
        system_prompts=(SystemPrompt.WITHOUT, SystemPrompt.WITH),
    )
    for name in ("short", "load")
}
AXES = {"backend": ["first", "second", "third"], "model": "tiny", "workload": "short", "accelerator": "cpu"}
CONTROL = {"backend": "first", "model": "tiny", "workload": "short", "users": 1, "accelerator": "cpu"}


def wish(seed: int = 1, *, only: dict[str, Any] | None = None, **values: Any) -> Wish:
    asked = Matrix.model_validate({"title": "m", "axes": AXES, **values})
    file = MatrixFile(Path("m.toml"), "sha256:m", asked, WORKLOADS)
    return Wish(file=file, seed=seed, only=(Pattern.model_validate(only),) if only else ())


def plan(asked: Wish) -> Plan:
    found = matrix.choices(asked, FAKES, lambda _: Accelerator.CPU, lambda *_: HOST)
    return matrix.plan(asked, found, FAKES, RuntimeKind.PROCESS)


def ids(made: Plan) -> list[str]:
    return [group.group.id for group in made.groups]


def test_cells_of_one_deployment_are_one_group() -> None:
    """Users and system prompts are loads of it; all else makes another."""
    made = plan(wish(axes={**AXES, "workload": ["short", "load"], "users": [1, 2]}))

    assert 6 == len(made.groups)
    for group in made.groups:
        assert (
            Load(users=1, system_prompt=SystemPrompt.WITHOUT),
            Load(users=2, system_prompt=SystemPrompt.WITHOUT),
            Load(users=1, system_prompt=SystemPrompt.WITH),
            Load(users=2, system_prompt=SystemPrompt.WITH),
        ) == group.group.loads
    assert 24 == len({cell.id for group in made.groups for cell in group.group.cells})


def test_gpus_and_serving_layers_are_axes_too() -> None:
    """Each is a deployment of its own, named apart; a layer stands before each engine that it can ask."""
    both = plan(
        wish(axes={**AXES, "backend": "first", "gpus": [1, "GPU-a,GPU-b"], "serving": ["native", "bentoml"]})
    )
    groups = [group.group for group in both.groups]

    assert 4 == len({group.id for group in groups})
    assert {("1", None), ("1", "bentoml"), ("GPU-a,GPU-b", None), ("GPU-a,GPU-b", "bentoml")} == {
        (group.gpus, group.serving and group.serving.name) for group in groups
    }
    assert all(group.mark.startswith("gpus-") for group in groups)
    layered = next(group for group in both.groups if group.group.serving)
    assert layered.layer_ready is not None
    assert layered.image.layer is not None


def test_one_number_of_gpus_names_nothing() -> None:
    """What is alike over the whole matrix is no part of a cell's name."""
    one = plan(wish(axes={**AXES, "backend": "first", "gpus": 2}))

    assert ["2"] == [group.group.gpus for group in one.groups]
    assert [""] == [group.group.mark for group in one.groups]


def test_the_gpus_that_are_asked_for_are_what_an_adapter_sees() -> None:
    """Each request's traits are asked for with its own."""
    asked: list[str] = []

    def traits(request: Request, _: Accelerator) -> HostTraits:
        asked.append(request.gpus)
        return HOST

    some = wish(axes={**AXES, "backend": "first", "gpus": [1, 2]})
    matrix.choices(some, FAKES, lambda _: Accelerator.CPU, traits)

    assert ["1", "2"] == sorted(asked)


def test_cells_are_chosen_by_gpus_and_layer() -> None:
    """As by every other field."""
    axes = {**AXES, "backend": "first", "gpus": [1, 2], "serving": ["native", "bentoml"]}
    left = plan(wish(axes=axes, exclude=[{"gpus": 2, "serving": "bentoml"}], only={"serving": "bentoml"}))

    assert [("1", "bentoml-current")] == [
        (group.group.gpus, group.group.serving.id) for group in left.groups if group.group.serving
    ]


def test_the_order_is_the_seeds() -> None:
    """The same seed gives the same order, others give others; it stands in the plan."""
    orders = {seed: tuple(ids(plan(wish(seed)))) for seed in range(20)}

    assert orders[3] == tuple(ids(plan(wish(3))))
    assert 6 == len(set(orders.values()))
    night = plan(wish(3)).night
    assert night is not None
    assert 3 == night.seed


def test_loads_may_be_drawn_too() -> None:
    """By default they rise as they are named, as in the published benchmark."""
    axes = {**AXES, "users": list(range(1, 9)), "system_prompt": "without"}
    named = plan(wish(axes=axes)).groups[0].group.loads
    drawn = plan(wish(axes=axes, load_order="random")).groups[0].group.loads

    assert list(range(1, 9)) == [load.users for load in named]
    assert named != drawn
    assert set(named) == set(drawn)


@pytest.mark.parametrize(
    ("moments", "places"),
    [(["start", "middle", "end"], [0, 3, 5]), (["middle"], [2]), (["end", "start"], [0, 4]), ("end", [3])],
)
def test_the_control_cell_stands_at_its_moments(moments: object, places: list[int]) -> None:
    """Numbered in the order of the night, with names that no other cell has."""
    made = plan(wish(control={**CONTROL, "at": moments}))
    controls = [i for i, group in enumerate(made.groups) if group.group.role is Role.CONTROL]

    assert places == controls
    assert [f"control-{n}" for n in range(1, len(places) + 1)] == [
        made.groups[i].group.mark for i in controls
    ]
    assert len(made.groups) == len(set(ids(made)))
    assert all(1 == len(made.groups[i].group.loads) for i in controls)


def test_a_cell_is_called_alike_whichever_part_is_run() -> None:
    """So that its history does not depend on what else is asked for."""
    axes = {**AXES, "workload": ["short", "load"], "prefix_caching": ["profile", "off"]}
    whole = plan(wish(axes=axes))
    part = plan(wish(axes=axes, only={"backend": "first", "workload": "short", "prefix_caching": "off"}))

    assert ["first-current-tiny-defaults-short-prefix-off"] == ids(part)
    assert set(ids(part)) <= set(ids(whole))


def test_what_is_included_is_added_once() -> None:
    """As the axes but for what it names; a cell that is there already is not measured twice."""
    more = [{"backend": "first", "users": [1, 9], "system_prompt": "without"}]
    asked = wish(include=more, axes={**AXES, "system_prompt": "without"})
    points, _ = expand(asked.matrix, WORKLOADS)

    assert 3 * 2 + 1 == len(points)
    assert [9] == [p.users for p in points if p.users not in (1, 4)]


def test_what_is_excluded_is_left_out_and_told() -> None:
    """A single load of a deployment, or all of it."""
    out = [{"backend": "first", "users": 4, "reason": "too much"}, {"backend": "second"}]
    made = plan(wish(exclude=out))
    assert made.night is not None

    assert {"first", "third"} == {group.group.backend for group in made.groups}
    assert {1} == {load.users for g in made.groups if g.group.backend == "first" for load in g.group.loads}
    assert 2 + 4 == len(made.night.excluded)
    assert {"too much", ""} == {x.reason for x in made.night.excluded}


def test_what_cannot_be_served_is_an_outcome() -> None:
    """It stands in the plan with its reason, once, and the others are measured."""
    made = plan(wish(axes={**AXES, "model": ["tiny", "tiny-awq"]}))

    assert {"tiny"} == {group.model.id for group in made.groups}
    assert ["first", "second", "third"] == sorted(refused.backend for refused in made.refused)
    assert {"4-bit weights are not read"} == {refused.refusal.reason for refused in made.refused}


def test_a_matrix_of_which_nothing_can_be_served_is_an_error() -> None:
    """With every reason."""
    with pytest.raises(RequestError, match="4-bit weights are not read") as caught:
        plan(wish(axes={**AXES, "model": "tiny-awq"}))
    assert caught.value.hint


def test_a_selection_that_leaves_nothing_is_an_error() -> None:
    """And says where the cells can be seen."""
    with pytest.raises(RequestError, match="no cell is left") as caught:
        plan(wish(only={"users": 7}))
    assert "--plan" in caught.value.hint


def test_options_of_an_engine_go_to_that_engine() -> None:
    """They are part of its deployment and of its name."""
    asked = wish(axes={**AXES, "extra_args": {"second": ["--slots 4"]}})
    found = matrix.choices(asked, FAKES, lambda _: Accelerator.CPU, lambda *_: HOST)
    by_backend = {choice.request.backends[0]: choice.request for choice in found}

    assert {"first": (), "second": ("--slots 4",), "third": ()} == {
        name: request.extra_args for name, request in by_backend.items()
    }
    assert by_backend["second"].mark.startswith("args-")


def test_an_open_loop_is_no_workload_of_a_matrix() -> None:
    """Its loads are rates, and a cell of a matrix is told by its users."""
    rated = Workload(id="o", title="o", arrivals=Arrivals.POISSON, rates=(1.0,), ramp_s=1, duration_s=10)
    asked = Matrix.model_validate({"title": "m", "axes": {**AXES, "workload": ["short", "o"]}})

    assert [(("axes", "workload"), "o is an open loop, and the cells of a matrix have users")] == faults(
        asked, {**WORKLOADS, "o": rated}
    )


def test_a_plan_is_a_lock_file() -> None:
    """It survives JSON whole: groups, order, rules, seed."""
    made = plan(
        wish(
            control=CONTROL,
            budget={"minutes": 480, "phase_minutes": {"ready": 20}},
            waive=[
                {"backend": "first", "cause": "memory-kv-cache", "reason": "known", "until": "2030-01-01"}
            ],
            priority=[{"model": "tiny", "value": 5}],
            notify={"webhook_env": "HOOK"},
        )
    )

    assert made == Plan.model_validate_json(made.model_dump_json())


def test_a_deployment_is_worth_as_much_as_its_best_cell() -> None:
    """The first priority that names a cell is that cell's; others are worth nothing."""
    made = plan(
        wish(
            axes={**AXES, "users": [1, 2]},
            priority=[
                {"backend": "first", "users": 1, "value": -3},
                {"backend": "first", "value": 2},
                {"backend": "second", "value": -4},
                {"backend": ["first", "second"], "value": 1},
            ],
        )
    )

    assert {"first": 2, "second": -4, "third": 0} == {g.group.backend: g.value for g in made.groups}


def test_each_cell_knows_its_waivers() -> None:
    """By the names that the file uses, which are not always those of what is run."""
    known = {"reason": "known", "until": "2030-01-01"}
    made = plan(
        wish(
            axes={**AXES, "users": [1, 2], "system_prompt": "without"},
            control=CONTROL,
            waive=[
                {"backend": "first", "users": 2, "workload": "short", "accelerator": "cpu", **known},
                {"backend": ["first", "second"], "cause": "hung", **known},
                {"backend": "third", "prefix_caching": "off", **known},
            ],
        )
    )
    found = {g.group.id: {name: len(of) for name, of in g.waivers.items()} for g in made.groups}
    by_backend = {g.group.backend: found[g.group.id] for g in made.groups if g.group.role is Role.MEASURED}

    assert {"first": {"u1": 1, "u2": 2}, "second": {"u1": 1, "u2": 1}, "third": {}} == by_backend
    assert {"u1": 1} == next(found[g.group.id] for g in made.groups if g.group.role is Role.CONTROL)

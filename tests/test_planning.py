"""From a request to a plan: names, refusals, the shape of the load, and the plan itself."""

from __future__ import annotations

import pytest

from backends import load_backends
from backends.contract import (
    Accelerator,
    Backend,
    HostTraits,
    PrefixCache,
    PrefixCaching,
    Profile,
    Refusal,
    RequestField,
    StepSpec,
)
from orchestrator import planning
from orchestrator.catalog import loader
from orchestrator.domain.cell import AcceleratorChoice, RuntimeChoice, RuntimeKind
from orchestrator.domain.model import Family
from orchestrator.domain.plan import Plan, Refused
from orchestrator.domain.provenance import Gpu, Host
from orchestrator.domain.workload import Sampling
from orchestrator.errors import RequestError
from orchestrator.planning import Request
from tests.fakes.backend import FakeBackend

CPU = HostTraits(accelerator=Accelerator.CPU, cpus=4, memory_bytes=8 * 2**30)
CUDA = HostTraits(accelerator=Accelerator.CUDA, cpus=4, memory_bytes=8 * 2**30)
BOTH = (Accelerator.CPU, Accelerator.CUDA)
FAKES: dict[str, Backend] = {
    "first": FakeBackend("first"),
    "second": FakeBackend("second", accelerators=BOTH),
}
HOST = Host(os="test", kernel="1", machine="x", cpu="c", cpus=4, memory_bytes=2**33, python="3.11")
GPU = Gpu(uuid="GPU-1", name="G", memory_bytes=2**36, driver="1")


def plan(
    *names: str,
    host: HostTraits = CPU,
    runtime: RuntimeKind = RuntimeKind.PROCESS,
    backends: dict[str, Backend] = FAKES,
    **request: object,
) -> Plan:
    return planning.plan(asked(*names, **request), backends, host, runtime)


def without_the_old_release() -> FakeBackend:
    backend = FakeBackend("first")
    backend.releases = backend.releases[:1]
    return backend


def asked(*names: str, **request: object) -> Request:
    return Request.model_validate({"backends": names or ("first",), "model": "tiny", **request})


def refusal(*names: str, **request: object) -> tuple[str, str]:
    """Message and hint of the error that a request ends in."""
    with pytest.raises(RequestError) as caught:
        plan(*names, **request)  # type: ignore[arg-type]
    return str(caught.value), caught.value.hint


def test_unknown_backend_is_told_with_the_nearest_name() -> None:
    """A typing error costs one look."""
    assert ("unknown backend 'frist'. Did you mean 'first'?", "known: first, second") == refusal("frist")


def test_one_unknown_backend_among_known_ones_is_an_error() -> None:
    """Nothing is left out silently."""
    assert "unknown backend 'nothing'." == refusal("first", "nothing")[0]


def test_unknown_model_is_told_with_the_nearest_name() -> None:
    """And the list."""
    message, hint = refusal(model="tinny")

    assert "unknown model 'tinny'. Did you mean 'tiny'?" == message
    assert hint == (
        "known: 70b-4bit, 70b-awq, 70b-int4-awq, 70b-q4f16_1, 8b, 8b-int4-awq, 8b-q4f16_1, small, tiny, tiny-awq"
    )


def test_an_open_loop_has_no_users() -> None:
    """Its loads are its rates."""
    assert "'stream' is an open loop: it has no users" == refusal(workload="stream", users=(4,))[0]


def test_unknown_workload_is_told_with_the_nearest_name() -> None:
    """And the list."""
    expected = ("unknown workload 'artikel'. Did you mean 'article'?", "known: article, load, short, stream")

    assert expected == refusal(workload="artikel")


def test_unknown_release_is_told_with_the_list() -> None:
    """Releases are those of the backend."""
    expected = ("unknown release of first '2024-07'. Did you mean '2024-06'?", "known: 2024-06, current")

    assert expected == refusal(release="2024-07")


def test_profile_that_a_release_lacks_is_told() -> None:
    """`published` belongs to the engines of the published benchmark."""
    expected = (
        "first: Fake current has no published settings",
        "try PROFILE=defaults or PROFILE=matched",
    )

    assert expected == refusal(profile=Profile.PUBLISHED)


def test_pair_that_cannot_be_served_is_refused_with_its_reason() -> None:
    """When nothing is left to do, the adapter's reason and alternative are the error."""
    assert ("first: 4-bit weights are not read", "try MODEL=tiny") == refusal(model="tiny-awq")


def test_every_refusal_is_told() -> None:
    """Two reasons for two backends."""
    message, _ = refusal("first", "second", model="tiny-awq")

    assert "first: 4-bit weights are not read; second: 4-bit weights are not read" == message


def test_refused_backend_beside_a_good_one_stands_in_the_plan() -> None:
    """A comparison goes on without it, and says so."""
    made = plan("first", "second", host=CUDA)
    why = Refusal(
        reason="Fake current runs on cpu only, not on cuda",
        alternative="RELEASE=2024-06 or ACCELERATOR=cpu or BACKEND=second",
    )

    assert ["second"] == [g.group.backend for g in made.groups]
    assert (Refused(backend="first", release="current", model="tiny", refusal=why),) == made.refused


def test_release_without_a_build_for_the_host_is_refused() -> None:
    """A reason and what has one, not a crash."""
    message, hint = refusal("second", release="2024-06")

    assert "second: Fake 2024-06 runs on cuda only, not on cpu" == message
    assert "try RELEASE=current or BACKEND=first" == hint


def test_a_release_of_another_backend_is_refused() -> None:
    """Where one engine of several has no such release, the others go on."""
    made = plan(
        "first",
        "second",
        host=CUDA,
        release="2024-06",
        backends={**FAKES, "first": without_the_old_release()},
    )

    assert ["second"] == [g.group.backend for g in made.groups]
    assert "Fake has no release 2024-06" == made.refused[0].refusal.reason
    assert "RELEASE=current" == made.refused[0].refusal.alternative


@pytest.mark.parametrize(("model", "chosen"), [("either", "tiny-awq"), ("tiny", "tiny")])
def test_a_family_gives_each_engine_its_own_form(
    monkeypatch: pytest.MonkeyPatch, model: str, chosen: str
) -> None:
    """The first of its models that the engine serves; results are compared under the family's name."""
    family = Family(id="either", title="for tests", models=("tiny-awq", "tiny"))
    monkeypatch.setattr(loader, "families", lambda: {"either": family})
    able = FakeBackend("able")
    able.reads_awq = True
    made = plan("able", "first", model=model, backends={"able": able, **FAKES})

    assert [chosen, "tiny"] == [g.group.model for g in made.groups]
    assert [model, model] == [g.group.compared_as for g in made.groups]


def test_refused_weights_are_told_with_those_that_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another form of the same model first, then the name under which each engine gets its own."""
    family = Family(id="either", title="for tests", models=("tiny-awq", "tiny"))
    monkeypatch.setattr(loader, "families", lambda: {"either": family})
    backend = FakeBackend("first")
    backend.instead = None

    message, hint = refusal("first", model="tiny-awq", backends={"first": backend})

    assert "first: 4-bit weights are not read" == message
    assert "try MODEL=tiny or MODEL=either" == hint


def test_weights_that_only_another_release_serves_are_told_with_it() -> None:
    """A model that stands alone may be served by an older or a newer release."""
    backend = FakeBackend("first", accelerators=BOTH)
    backend.instead = None
    backend.awq_release = "2024-06"

    assert (
        "try RELEASE=2024-06" == refusal("first", host=CUDA, model="tiny-awq", backends={"first": backend})[1]
    )


def test_weights_that_fill_the_gpu_are_refused() -> None:
    """Before anything is fetched."""
    small = CUDA.model_copy(update={"gpu_memory_bytes": 10**6})
    message, _ = refusal("second", host=small)

    assert "second: tiny takes 0 GB of the GPU's 0 GB" == message


@pytest.mark.parametrize(
    ("cache", "asked", "reason"),
    [
        (PrefixCache(default_on=None), PrefixCaching.ON, "1.0 has no prefix cache"),
        (PrefixCache(default_on=None), PrefixCaching.OFF, None),
        (PrefixCache(default_on=True, can_switch=False), PrefixCaching.ON, None),
        (PrefixCache(default_on=True, can_switch=False), PrefixCaching.OFF, "1.0 cannot switch"),
        (PrefixCache(default_on=False), PrefixCaching.ON, None),
    ],
)
def test_prefix_caching_is_refused_where_it_cannot_be_had(
    cache: PrefixCache, asked: PrefixCaching, reason: str | None
) -> None:
    """Never another state than the one asked for."""
    backend = FakeBackend("first")
    backend.cache = cache
    if reason is None:
        (group,) = plan("first", prefix_caching=asked, backends={"first": backend}).groups
        assert asked is group.group.prefix_caching
    else:
        assert reason in refusal("first", prefix_caching=asked, backends={"first": backend})[0]


def test_what_steps_have_made_is_told_to_the_adapter() -> None:
    """Of this release and model alone: what only such a step needs of the host is then no obstacle."""
    names = ("first-current-tiny-convert", "first-2024-06-tiny-build", "second-current-tiny-build")
    host = CPU.model_copy(update={"artifacts": names})
    (chosen,), _ = planning.choose_builds(asked("first"), FAKES, host)

    assert ("convert",) == chosen.setup.finished


def test_fixed_lengths_are_refused_where_they_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that stops at its own end would do less work than the others."""
    fixed = loader.workload("short").model_copy(update={"sampling": Sampling(ignore_eos=True)})
    monkeypatch.setattr(loader, "workload", lambda _: fixed)
    backend = FakeBackend("first")
    backend.refused = (RequestField.IGNORE_EOS,)

    assert "cannot be told to ignore the end" in refusal("first", backends={"first": backend})[0]


def test_a_top_p_that_cannot_be_said_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be left out in silence; a top_p of 1 means the same as none."""
    backend = FakeBackend("first")
    backend.refused = (RequestField.TOP_P,)
    assert 1 == len(plan("first", backends={"first": backend}).groups)
    cut = loader.workload("short").model_copy(update={"sampling": Sampling(top_p=0.9)})
    monkeypatch.setattr(loader, "workload", lambda _: cut)

    assert "1.0 is not told a top_p" in refusal("first", backends={"first": backend})[0]


def test_backends_run_in_the_order_asked_for_and_once_each() -> None:
    """A name that is given twice is measured once."""
    made = plan("second", "first", "second")

    assert ["second", "first"] == [g.group.backend for g in made.groups]


@pytest.mark.parametrize(("host", "name"), [(CPU, "short"), (CUDA, "article")])
def test_the_workload_follows_the_accelerator(host: HostTraits, name: str) -> None:
    """A short one on a CPU, the published one on a GPU."""
    assert name == plan("second", host=host).groups[0].group.workload.id


def test_users_and_duration_are_the_requests() -> None:
    """Twice the same load is one cell; the order is kept."""
    workload = plan(users=(8, 2, 8), duration_s=3).groups[0].group.workload

    assert ((8, 2), 3.0) == (workload.users, workload.duration_s)


def test_users_below_one_are_refused() -> None:
    """Nobody is no load."""
    assert ("users must be 1 or more", "for example USERS=1,4,16") == refusal(users=(4, 0))


@pytest.mark.parametrize("duration_s", [20.0, 5.0])
def test_duration_must_outlast_a_ramp_inside_it(duration_s: float) -> None:
    """Else there is nothing steady to measure."""
    expected = ("workload 'article' ramps for 20 s within its duration", "DURATION must be longer than 20")

    assert expected == refusal(workload="article", duration_s=duration_s)


def test_ramp_before_the_measurement_allows_any_duration() -> None:
    """The short workload's ramp comes first."""
    assert 1.0 == plan(workload="short", duration_s=1).groups[0].group.workload.duration_s


def test_system_prompts_double_the_cells() -> None:
    """Every load without, then every load with."""
    loads = [load.id for load in plan(workload="article", users=(1, 2)).groups[0].group.loads]

    assert ["u1", "u2", "u1-sys", "u2-sys"] == loads


def test_process_is_a_stated_deviation() -> None:
    """Every report of a run without a container says so; a container is no deviation."""
    in_process = plan().groups[0].deviations
    in_docker = planning.plan(
        Request(backends=("llama-cpp",)), load_backends(), CPU, RuntimeKind.DOCKER
    ).groups[0]

    assert ("RUNTIME", "process") == (in_process[0].setting, in_process[0].value)
    assert "RUNTIME" not in {d.setting for d in in_docker.deviations}


def test_dockerfile_is_rendered_for_docker_alone() -> None:
    """From the base that was asked for."""
    request = Request(backends=("llama-cpp",), base="my-base:1")
    group = planning.plan(request, load_backends(), CPU, RuntimeKind.DOCKER).groups[0]
    assert group.dockerfile is not None

    assert "my-base:1" == group.base
    assert "FROM my-base:1" in group.dockerfile
    assert plan().groups[0].dockerfile is None


def test_a_plan_survives_json() -> None:
    """run.json is the plan."""
    made = plan("first", "second", "first", host=CPU, users=(1, 2), port=8080)

    assert [8080, 8080] == [g.port for g in made.groups]
    assert made == Plan.model_validate_json(made.model_dump_json())


def test_estimates_add_up() -> None:
    """Two cells of 12 s with 3 s around each; install, weights and start before them; the one model counts once."""
    made = plan("first", "second", users=(1, 2))
    group = made.groups[0]

    assert 30.0 == group.measure_s
    assert 40e6 / 40e6 + 14e6 / 100e6 + 20 == group.prepare_s
    assert 2 * 40_000_000 + 14_000_000 == made.disk_bytes
    assert pytest.approx(2 * (30.0 + 21.14) / 60) == made.minutes


@pytest.mark.parametrize(
    ("names", "gpus", "request_", "expected"),
    [
        (("first",), (), {}, Accelerator.CPU),
        (("second",), (GPU,), {}, Accelerator.CPU),
        (("second",), (GPU,), {"model": "8b"}, Accelerator.CUDA),
        (("first",), (GPU,), {}, Accelerator.CPU),
        (("first", "second"), (GPU,), {}, Accelerator.CPU),
        (("second",), (GPU,), {"accelerator": AcceleratorChoice.CPU}, Accelerator.CPU),
        (("second",), (), {"accelerator": AcceleratorChoice.CUDA}, Accelerator.CUDA),
        (("second",), (), {"model": "70b-awq"}, Accelerator.CUDA),
        (("second",), (), {"release": "2024-06"}, Accelerator.CUDA),
        (("first", "gpu-only"), (), {}, Accelerator.CPU),
        (("gpu-only",), (), {}, Accelerator.CUDA),
        (("unknown",), (), {}, Accelerator.CPU),
    ],
)
def test_accelerator_choice(
    names: tuple[str, ...], gpus: tuple[Gpu, ...], request_: dict[str, object], expected: Accelerator
) -> None:
    """What was asked for; the CPU for what runs on it with a small model; the GPU where there is one."""
    backends = {**FAKES, "gpu-only": FakeBackend("gpu-only", accelerators=(Accelerator.CUDA,))}
    host = HOST.model_copy(update={"gpus": gpus})

    assert expected is planning.choose_accelerator(asked(*names, **request_), backends, host)


def test_engine_without_a_process_form_is_refused_at_once() -> None:
    """RUNTIME=process for an engine that comes as an image only is an impossible request, not a failed cell."""
    request = Request(
        backends=("lmdeploy",),
        model="70b-awq",
        accelerator=AcceleratorChoice.CUDA,
        runtime=RuntimeChoice.PROCESS,
    )
    with pytest.raises(RequestError, match="comes as an image only") as caught:
        planning.choose_builds(request, load_backends(), CUDA)

    assert "try RUNTIME=docker" == caught.value.hint


@pytest.mark.parametrize(("serve_reads", "reader"), [(False, "step build"), (True, "the engine")])
def test_what_reads_an_output_that_nobody_makes_is_a_fault_of_the_adapter(
    monkeypatch: pytest.MonkeyPatch, serve_reads: bool, reader: str
) -> None:
    """Told with the plan, before anything is fetched."""
    words = () if serve_reads else ("{step:convert}",)
    step = StepSpec(
        id="build", title="b", argv=("b", *words), produces=("*",), deadline_s=1.0, output_bytes=1
    )
    serve = FakeBackend().serve
    monkeypatch.setattr(FakeBackend, "makes", (step,))
    if serve_reads:
        changed = {"argv": ("serve", "{step:build}", "{step:convert}")}
        monkeypatch.setattr(FakeBackend, "serve", lambda _, setup: serve(setup).model_copy(update=changed))
    with pytest.raises(RequestError, match=f"{reader} reads {{step:convert}}, which no step before it makes"):
        plan()

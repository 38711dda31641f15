"""Steps: addressed by all that could change them, run in every runtime, failing in every way."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.contract import COMMON_FAILURES, FailureCause, FailureSignature, SpecFile, StepSpec
from orchestrator import steps
from orchestrator.artifacts import Artifact, Making, Order
from orchestrator.domain.provenance import Gpu, Image
from orchestrator.errors import CellError, HostError, Interrupted
from orchestrator.runtime.interface import JobEnd, JobSpec, State
from tests.fakes.runtime import FakeRuntime
from tests.runtime import made
from tests.workshop import Bench, left

ROOT = Path(__file__).resolve().parent.parent
IMAGE = made.image_spec()
NO_ROOM = FailureSignature(
    pattern="no room for the engine", cause=FailureCause.MEMORY_WEIGHTS, hint="take a smaller model"
)
GPU = Gpu(uuid="GPU-1", name="H100", memory_bytes=80 * 2**30, driver="1", compute_capability=(9, 0))


def inputs(bench: Bench, image: Image | None = None, **changes: Any) -> steps.Inputs:
    """With the stub's program as weights."""
    found = image or Image(reference="fake", digest="sha256:0", size_bytes=1)
    values: dict[str, Any] = {
        "label": "stub-tiny",
        "model_folder": "stub",
        "weights": stub_weights(bench),
        "images": {IMAGE: found},
        "image": IMAGE,
        "gpus": (),
        "signatures": (NO_ROOM, *COMMON_FAILURES),
    }
    return steps.Inputs(**{**values, **changes})


def stub_weights(bench: Bench) -> Artifact:
    def make(folder: Path) -> Making:
        shutil.copy(made.STUB_STEP, folder)
        return Making(wall_s=0.0)

    order = Order(home=bench.cache / "models" / "stub", key="w", title="stub", estimate_bytes=1)
    return bench.shop().store.provide(order, make, lambda _: None)


def output(bench: Bench, step: StepSpec, image: Image | None = None, **changes: Any) -> Artifact:
    return steps.output(step, inputs(bench, image, **changes), bench.shop())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def real(real_bench: made.Bench, tmp_path: Path) -> tuple[Bench, Image]:
    """A workshop over a runtime that runs programs, and its image."""
    return Bench(tmp_path / "shop", runtime=real_bench.runtime), real_bench.image


def test_a_step_runs_once(bench: Bench) -> None:
    """The second time its output comes from the cache, with what it had cost."""
    first, second = output(bench, made.step()), output(bench, made.step())
    assert isinstance(bench.runtime, FakeRuntime)

    assert ["run build"] == bench.runtime.calls
    assert (False, True) == (first.cached, second.cached)
    assert (1.5, 2**20, 6) == (
        second.record("build").wall_s,
        second.record("build").peak_memory_bytes,
        second.record("build").output_bytes,
    )
    assert [f"stub-tiny-build-{first.key}"] == left(bench.cache, "artifacts")


def key(bench: Bench, step: StepSpec | None = None, **changes: Any) -> str:
    return steps.step_key(step or made.step(), dataclasses.replace(inputs(bench), **changes))


def test_the_address_changes_with_all_that_could_change_the_output(bench: Bench) -> None:
    """Command, environment, files, programs, image, weights, earlier outputs and, if it uses one, the GPU."""
    gpu = made.step(gpu=True)
    other_gpu = GPU.model_copy(update={"compute_capability": (8, 0)})
    other_image = Image(reference="fake", digest="sha256:1", size_bytes=1)
    earlier = output(bench, made.step(id="convert"))
    reads = made.step("work", "{step:convert}/x")
    later = output(bench, made.step(id="convert", env={"A": "2"}))
    program = made.image_spec(made.build(context=("llama_cpp_server.py",)))
    found = [
        key(bench),
        key(bench, made.step("work", "more")),
        key(bench, made.step(env={"A": "1"})),
        key(bench, made.step(files=(SpecFile(path="a", text="b"),))),
        key(bench, made.step(produces=("*.engine",))),
        key(bench, image=program, images={program: inputs(bench).images[IMAGE]}),
        key(bench, images={IMAGE: other_image}),
        key(bench, model_folder="other"),
        key(bench, weights=earlier),
        key(bench, reads, earlier={"convert": earlier}),
        key(bench, reads, earlier={"convert": later}),
        key(bench, gpu, gpus=(GPU,)),
        key(bench, gpu, gpus=(GPU, GPU)),
        key(bench, gpu, gpus=(other_gpu,)),
        key(bench, gpu, gpus=(GPU.model_copy(update={"memory_bytes": 1}),)),
        key(bench, gpu, gpus=(GPU.model_copy(update={"name": "A100"}),)),
    ]

    assert len(found) == len(set(found))


def test_the_address_does_not_change_with_what_cannot(bench: Bench) -> None:
    """Titles, estimates, deadlines; which of two equal GPUs; a GPU that the step does not use."""
    step = made.step(title="other", deadline_s=1.0, output_bytes=9, memory_bytes=9)
    gpu = made.step(gpu=True)
    twin = GPU.model_copy(update={"uuid": "GPU-2", "driver": "2"})

    assert key(bench) == key(bench, step) == key(bench, gpus=(GPU,))
    assert key(bench, gpu, gpus=(GPU,)) == key(bench, gpu, gpus=(twin,))
    portable = made.step(gpu=True, portable=True)
    larger = GPU.model_copy(update={"memory_bytes": 1})
    assert key(bench, portable, gpus=(GPU,)) == key(bench, portable, gpus=(larger,)) == key(bench, portable)


def test_what_is_bound_to_no_gpu_can_be_brought_from_another_host(bench: Bench) -> None:
    """Its maker is known by what the image was built from: an image built elsewhere has another digest."""
    portable = made.step(portable=True)
    there = Image(reference="fake", digest="sha256:of-another-host", size_bytes=1)
    other = Image(reference="other", digest=inputs(bench).images[IMAGE].digest, size_bytes=1)

    assert key(bench, portable) == key(bench, portable, images={IMAGE: there})
    assert key(bench, portable) != key(bench, portable, images={IMAGE: other})


def test_what_is_at_hand_is_listed_by_name(bench: Bench) -> None:
    """Finished outputs, without their addresses; a draft is none."""
    output(bench, made.step())
    (bench.cache / "artifacts" / ".stub-tiny-convert-0123456789ab.draft").mkdir()

    assert ("stub-tiny-build",) == steps.at_hand(bench.cache)


@pytest.mark.parametrize(
    ("end", "said", "cause"),
    [
        (JobEnd(State(False, 3), 1.0, 1), "step build ended with 3", FailureCause.UNKNOWN),
        (JobEnd(State(False, 137), 1.0, 1), "step build ended with 137", FailureCause.KILLED),
        (
            JobEnd(State(False, 137, oom_killed=True), 1.0, 1),
            "step build ended with 137",
            FailureCause.KILLED_BY_KERNEL,
        ),
        (
            JobEnd(State(True), 9.0, 1, "did not end in 9 s"),
            "build did not end in 9 s",
            FailureCause.DEADLINE,
        ),
    ],
)
def test_a_step_that_fails_fails_the_cell(bench: Bench, end: JobEnd, said: str, cause: FailureCause) -> None:
    """With a cause, its last words, and nothing that looks finished."""
    assert isinstance(bench.runtime, FakeRuntime)
    bench.runtime.jobs["build"] = end
    with pytest.raises(CellError, match=said) as caught:
        output(bench, made.step())

    assert cause is caught.value.cause
    assert "stub step starts\n100 %" == caught.value.log_tail
    assert [] == left(bench.cache, "artifacts")


def test_a_signal_while_a_step_is_started_waits_for_the_next_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been started is known before the run ends."""
    run, known = FakeRuntime.run, list[str]()

    def signalled(self: FakeRuntime, spec: JobSpec, on_line: Any, watch: Callable[[], None]) -> JobEnd:
        signal.raise_signal(signal.SIGINT)
        known.append(spec.step.id)
        return run(self, spec, on_line, watch)

    monkeypatch.setattr(FakeRuntime, "run", signalled)
    with bench.interrupts.installed(), pytest.raises(Interrupted):
        output(bench, made.step())

    assert ["build"] == known
    assert [] == left(bench.cache, "artifacts")


# Real commands, in a process and in a container.


def test_output_of_one_step_is_the_next_ones_input(real: tuple[Bench, Image]) -> None:
    """The second reads what the first made; both are kept, and a third run makes neither."""
    bench, image = real
    first = output(bench, made.step(id="convert"), image)
    reads = made.step("work", "{step:convert}/engine.bin")
    second = output(bench, reads, image, earlier={"convert": first})

    assert {"engine.bin", "inner/told.json"} == set(first.manifest.files)
    assert '"texts": ["engine"]' in (second.folder / "inner" / "told.json").read_text()
    assert output(bench, reads, image, earlier={"convert": first}).cached
    modes = {p.name: p.stat().st_mode & 0o777 for p in second.folder.rglob("*")}
    assert {"inner": 0o755, "told.json": 0o644, "engine.bin": 0o644} == modes


def test_a_failure_has_the_cause_that_the_log_proves(real: tuple[Bench, Image]) -> None:
    """The adapter's signatures are read over a step's log as over an engine's."""
    bench, image = real
    with pytest.raises(CellError, match="step build ended with 3") as caught:
        output(bench, made.step("fail"), image)

    assert (FailureCause.MEMORY_WEIGHTS, "take a smaller model") == (caught.value.cause, caught.value.hint)
    assert caught.value.log_tail.endswith("no room for the engine")
    assert [] == left(bench.cache, "artifacts")


def test_a_step_without_its_product_has_failed(real: tuple[Bench, Image]) -> None:
    """Though it ended with 0."""
    bench, image = real
    with pytest.raises(CellError, match=r"step build ended with 0 but made no \*.bin"):
        output(bench, made.step("nothing"), image)

    assert [] == left(bench.cache, "artifacts")


def test_a_step_that_hangs_ends_and_leaves_nothing(real: tuple[Bench, Image]) -> None:
    """Its half-made output least of all."""
    bench, image = real
    with pytest.raises(CellError, match="step build did not end in 1 s"):
        output(bench, made.step("hang", deadline_s=1.0), image)

    assert [] == left(bench.cache, "artifacts")


def test_an_interrupt_ends_a_step(real: tuple[Bench, Image]) -> None:
    """A signal in the middle: the command is killed with proof, the draft goes, the run ends."""
    bench, image = real

    def heard(text: str) -> None:
        if text == "stub step hangs":
            signal.raise_signal(signal.SIGTERM)

    shop = dataclasses.replace(bench.shop(), progress=heard)
    with bench.interrupts.installed(), pytest.raises(Interrupted):
        steps.output(made.step("hang"), inputs(bench, image), shop)

    assert [] == left(bench.cache, "artifacts")
    assert () == bench.runtime.reap(dry_run=True)


def test_a_full_disk_is_the_hosts_fault(real: tuple[Bench, Image]) -> None:
    """A real file system that is too small: it is told, and the draft gives its room back."""
    bench, image = real
    place = bench.cache / "artifacts"
    place.mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        with pytest.raises(HostError, match="step build filled the disk"):
            output(bench, made.step("fill"), image)
        assert [] == left(bench.cache, "artifacts")
        assert shutil.disk_usage(place).used < 2**20
    finally:
        subprocess.run(["umount", str(place)], check=True)


def truncate(folder: Path) -> None:
    os.truncate(folder / "engine.bin", 1)


def lose(folder: Path) -> None:
    (folder / "inner" / "told.json").unlink()


@pytest.mark.parametrize("damage", [truncate, lose])
def test_a_damaged_output_is_made_again(
    bench: Bench, process_bench: made.Bench, damage: Callable[[Path], None]
) -> None:
    """What is not whole is never used."""
    bench.runtime = process_bench.runtime
    damage(output(bench, made.step(), process_bench.image).folder)
    again = output(bench, made.step(), process_bench.image)

    assert not again.cached
    assert f"stub-tiny-build-{again.key} is damaged in the cache: made again" in bench.said
    assert b"engine" == (again.folder / "engine.bin").read_bytes()


# Two orchestrators, one of which may be killed.

OTHER = """
    import sys
    from pathlib import Path
    import pytest
    from tests.runtime import made
    from tests.test_steps import Bench, output
    folder, kind, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    patch = pytest.MonkeyPatch()
    real = made.docker(folder) if kind == "docker" else made.process(folder, patch, Path(sys.argv[4]))
    bench = Bench(folder / "shop", runtime=real.runtime)
    print("cached", output(bench, made.step(mode, "32"), real.image).cached, flush=True)
"""


def other(folder: Path, kind: str, mode: str, venv: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(OTHER), str(folder), kind, mode, str(venv)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_two_orchestrators_make_an_artifact_once(
    real: tuple[Bench, Image], tmp_path: Path, venv: Path
) -> None:
    """One makes it, the other waits and takes the same."""
    kind = real[0].runtime.kind.value
    processes = [other(tmp_path, kind, "hoard", venv) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]

    assert ["cached False", "cached True"] == sorted(text.splitlines()[-1] for text in outputs), outputs


def test_a_killed_orchestrator_leaves_no_half_artifact(
    real: tuple[Bench, Image], tmp_path: Path, venv: Path
) -> None:
    """SIGKILL in the middle of a step: what runs on is reaped, the draft is no artifact and goes, the step is
    made anew."""
    bench, image = real
    with other(tmp_path, bench.runtime.kind.value, "hang", venv) as process:
        run = f"run-{process.pid}"
        log = tmp_path / "shop" / "runs" / run / "logs" / "group-build.log"
        made.wait_for(lambda: log.exists() and "hangs" in log.read_text())
        process.kill()
    (draft,) = left(bench.cache, "artifacts")
    reaped = bench.runtime.reap()

    assert draft.startswith(".stub-tiny-build-")
    assert bench.runtime.kind.value == "process" or f"{run}-group-build" in reaped
    made.wait_for(lambda: not bench.runtime.reap(dry_run=True))
    time.sleep(0.1)
    bench.shop().store.sweep()
    assert [] == left(bench.cache, "artifacts")
    assert not output(bench, made.step(), image).cached

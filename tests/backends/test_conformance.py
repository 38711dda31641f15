"""What every adapter promises, over every build, profile and model that there is. See docs on new backends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from backends import DEFAULT, load_backends, load_layers
from backends.contract import (
    SERVING_LAYER,
    UNMET,
    Accelerator,
    Backend,
    Build,
    FailureCause,
    Gauge,
    ImageSpec,
    Launch,
    ModelTraits,
    PrefixCaching,
    Profile,
    Value,
    WeightsFormat,
    deviations,
)
from orchestrator.catalog import loader
from orchestrator.domain.workload import Sampling
from orchestrator.errors import RequestError
from orchestrator.load import dialects
from orchestrator.planning import Request, choose_builds
from orchestrator.render import FOLDER, render
from orchestrator.runtime.venvs import lock_path
from quantize.methods import METHODS
from tests.goldens import CASES, MODELS, STEP_IMAGES, Case

BACKENDS = load_backends()
BUILDS = {case.stem: case for case in reversed(CASES)}
PLACES = {"{model}", "{files}", "{config}"}
# What the weights are and where a repository lies, which are no settings of an engine's speed
WEIGHTS = {"--model-format", "--model-repository"}

# What an adapter is asked for one case; each is asked twice and sent through JSON
ASKED: dict[str, Callable[[Case], object]] = {
    "image": lambda c: c.backend.image(c.build),
    "serve": lambda c: c.serve,
    "ready": lambda c: c.backend.ready(c.build),
    "metrics": lambda c: c.backend.metrics(c.build),
    "readbacks": lambda c: c.backend.readbacks(c.build),
    "failures": lambda c: c.backend.failures(c.build),
    "deviations": lambda c: c.backend.deviations(c.setup),
    "steps": lambda c: c.backend.steps(c.setup),
    "request": lambda c: c.backend.request(c.setup),
    "prefix_cache": lambda c: c.backend.prefix_cache(c.build),
    "supports": lambda c: c.backend.supports(c.setup),
    "release": lambda c: c.release,
}
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_build = pytest.mark.parametrize("case", BUILDS.values(), ids=BUILDS)


def commands(case: Case) -> tuple[Launch, ...]:
    return (*case.steps, case.serve)


def placeholders(launch: Launch) -> set[str]:
    texts = (*launch.argv, *launch.env.values(), *(file.text for file in launch.files))
    return {found for text in texts for found in re.findall(r"\{[a-z]+(?::[\w-]+)?\}", text)}


def values(answer: object) -> list[Value]:
    found = answer if isinstance(answer, tuple) else (answer,)
    return [value for value in found if isinstance(value, Value)]


@each_case
def test_the_same_question_has_the_same_answer(case: Case) -> None:
    """Purity, as far as it can be seen: another instance says the same, too."""
    fresh = replace(case, backend=type(case.backend)())

    for verb, ask in ASKED.items():
        assert ask(case) == ask(case) == ask(fresh), verb


@each_case
def test_every_value_survives_json(case: Case) -> None:
    """Plans and results carry them, and are read back."""
    for verb, ask in ASKED.items():
        for value in values(ask(case)):
            assert value == type(value).model_validate_json(value.model_dump_json()), verb


@each_build
def test_the_usual_model_is_served(case: Case) -> None:
    """Each build can serve the model that its accelerator's default run takes."""
    assert MODELS[case.build.accelerator][0] == case.model.id


@each_build
def test_every_model_is_served_or_refused_with_a_reason(case: Case) -> None:
    """No model of the catalogue makes an adapter fail, and what it refuses it explains."""
    for model in loader.models().values():
        setup = case.setup.model_copy(update={"model": model.traits})
        refusal = case.backend.supports(setup)
        if refusal is None:
            serve = case.backend.serve(setup)
            assert serve.weights in model.formats
        else:
            assert len(refusal.reason) > 10


@pytest.mark.parametrize("model", [*loader.models(), *loader.families()])
@each_build
def test_an_alternative_works(case: Case, model: str) -> None:
    """What is named instead of a refused model is planned itself, with all else as it was asked for."""
    for profile in case.release.profiles:
        request = Request(
            backends=(case.backend.name,), model=model, release=case.release.id, profile=profile
        )
        for changed in alternatives(refused(request, case)):
            assert refused(request.model_copy(update=changed), case) is None


def refused(request: Request, case: Case) -> RequestError | None:
    try:
        choose_builds(request, BACKENDS, case.host)
    except RequestError as error:
        return error
    return None


def alternatives(error: RequestError | None) -> list[dict[str, object]]:
    """Each `NAME=value` of an error's hint, as a change of the request."""
    found = re.findall(r"\b(MODEL|RELEASE|BACKEND)=([\w.-]+)", error.hint if error else "")
    return [{"backends": (value,)} if name == "BACKEND" else {name.lower(): value} for name, value in found]


@each_build
def test_a_model_in_no_format_is_refused(case: Case) -> None:
    """An engine that is given nothing it can read says so before anything is started."""
    nothing = case.setup.model_copy(update={"model": case.model.model_copy(update={"formats": ()})})

    assert case.backend.supports(nothing) is not None


@each_build
def test_the_dockerfile_renders_strictly(case: Case) -> None:
    """No placeholder is left, and no name is missing."""
    text = render(case.backend.image(case.build), base=case.build.base)

    assert text.startswith(("FROM", "#"))
    assert "{{" not in text
    assert "None" not in text


@each_build
def test_nothing_floats(case: Case) -> None:
    """A base image has a tag or a digest, and that tag is not `latest`; a release is dated."""
    name = case.build.base.rpartition("/")[2]

    assert re.search(r"[:@]", name), f"{case.build.base} has no tag"
    assert not name.endswith(":latest")
    assert re.fullmatch(r"\d{4}-\d{2}", case.release.date)


@each_build
def test_every_file_that_a_build_names_is_there(case: Case) -> None:
    """Locks that pin every line, and the programs beside the engine."""
    for package_set in case.build.packages:
        lines = lock_path(package_set).read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith((" ", "#", "-"))]
        assert pins
        assert [] == [line for line in pins if "==" not in line]
    for name in case.build.context:
        assert (FOLDER / "context" / name).is_file()


def test_no_lock_is_left_over() -> None:
    """What no engine's build, no quantiser's and no serving layer's names is nobody's."""
    layers = [release.image.build for layer in load_layers().values() for release in layer.releases]
    tools = [m.tool.build(accelerator) for m in METHODS.values() for accelerator in Accelerator]
    builds = [*(case.build for case in BUILDS.values()), *tools, *layers]
    named = {package_set.lock for build in builds for package_set in build.packages}

    assert named == {p.name for p in (FOLDER / "locks").iterdir()}


@each_case
def test_the_argv_is_whole_words(case: Case) -> None:
    """A tuple of non-empty strings, whose placeholders are all known, with address and model among them."""
    serve = case.serve
    made = {f"{{step:{step.id}}}" for step in case.steps}

    assert all(serve.argv)
    assert set() == placeholders(serve) - PLACES - {"{bind}", "{port}"} - made
    assert {"{bind}", "{port}"} <= placeholders(serve)
    assert any("{model}" in placeholders(launch) for launch in commands(case))


@each_case
def test_steps_are_in_order(case: Case) -> None:
    """A step reads what a step before it has made, writes to its own folder, bears a name of its own, and is
    made for somebody."""
    before: set[str] = set()
    for step in case.steps:
        made = {f"{{step:{name}}}" for name in before}
        assert step.id not in before
        assert "{out}" in placeholders(step)
        assert placeholders(step) <= PLACES | {"{out}"} | made
        before.add(step.id)

    assert before == {name for launch in commands(case) for name in launch.step_inputs}


@pytest.mark.parametrize("image", STEP_IMAGES.values(), ids=STEP_IMAGES)
def test_an_image_of_a_step_is_pinned_too(image: ImageSpec) -> None:
    """It renders strictly, and its base has a tag that is not `latest`."""
    base = image.build.base

    assert "{{" not in render(image, base=base)
    assert re.search(r"[:@]", base.rpartition("/")[2])
    assert not base.endswith(":latest")


@each_case
def test_no_flag_is_given_twice(case: Case) -> None:
    """The second would win, and the report would show the first."""
    for launch in commands(case):
        flags = [word for word in launch.argv if word.startswith("--")]

        assert sorted(set(flags)) == sorted(flags)


@each_case
def test_every_setting_is_disclosed(case: Case) -> None:
    """Each flag that sets something and each field of a request is a stated deviation with a reason,
    and nothing else is stated but variables, entries of files, steps and what could not be set."""
    told = case.backend.deviations(case.setup)
    flags = {flag for launch in commands(case) for flag in settings(launch, case.model)} - WEIGHTS
    request_fields = set(case.backend.request(case.setup).fields)
    stated = {d.setting for d in told if d.value != UNMET}
    others = stated - flags - request_fields - {*case.serve.env, *(step.id for step in case.steps)}

    assert flags == {setting for setting in stated if setting.startswith("--")}
    assert request_fields <= stated
    assert [] == [name for name in others if name.rpartition(".")[2] not in entered(case)]
    assert all(len(d.reason) > 10 and d.value for d in told)


def entered(case: Case) -> str:
    return "\n".join(file.text for launch in commands(case) for file in launch.files)


def settings(launch: Launch, model: ModelTraits) -> set[str]:
    """Flags, but for those that say only where, what, and under which name."""
    told = re.compile(rf"\{{.+\}}.*|{re.escape(model.served_name)}")
    pairs = zip(launch.argv, (*launch.argv[1:], ""), strict=True)
    return {word for word, value in pairs if word.startswith("--") and not told.fullmatch(value)}


@each_case
def test_what_is_disclosed_is_what_is_run(case: Case) -> None:
    """Value for value."""
    env, request_fields = case.serve.env, case.backend.request(case.setup).fields
    for deviation in case.backend.deviations(case.setup):
        name, value = deviation.setting, deviation.value
        run = [launch.argv for launch in commands(case) if name in launch.argv]
        if run and value != "on":
            assert value in {argv[argv.index(name) + 1] for argv in run}
        assert value == env.get(name, value)
        assert value == (json.dumps(request_fields[name]) if name in request_fields else value)


@each_case
def test_what_the_article_ran_is_told_whole(case: Case) -> None:
    """Settings of the published services name their source, and their serving layer is not passed over."""
    if case.profile is not Profile.PUBLISHED:
        return
    others = case.backend.deviations(case.setup.model_copy(update={"profile": Profile.DEFAULTS}))
    own = [d for d in case.backend.deviations(case.setup) if d not in others]

    assert all(d.source is not None for d in own)
    assert deviations([SERVING_LAYER])[0] in own


@each_build
def test_the_matched_profile_differs(case: Case) -> None:
    """A profile that changes nothing would be a name without a meaning."""
    defaults, matched = (
        case.backend.serve(case.setup.model_copy(update={"profile": p}))
        for p in (Profile.DEFAULTS, Profile.MATCHED)
    )

    assert defaults != matched


@each_build
def test_patterns_compile_and_readbacks_have_their_group(case: Case) -> None:
    """A slip in a regular expression must not wait for the failure that it should explain."""
    for pattern in (
        *(s.pattern for s in case.backend.failures(case.build)),
        *case.backend.ready(case.build).fatal,
    ):
        re.compile(pattern)
    for readback in case.backend.readbacks(case.build):
        assert 1 <= re.compile(readback.pattern).groups


@each_build
def test_failures_tell_what_to_do(case: Case) -> None:
    """Every signature has a cause that is one and a hint."""
    for signature in case.backend.failures(case.build):
        assert signature.hint
        assert signature.cause is not FailureCause.UNKNOWN


@each_build
def test_readiness_has_a_path_and_a_time(case: Case) -> None:
    """An engine is asked over HTTP, and not for ever."""
    ready = case.backend.ready(case.build)

    assert ready.health_path.startswith("/")
    assert 10 <= ready.deadline_s <= 3600


@each_build
def test_metrics_name_gauges_that_are_ours(case: Case) -> None:
    """Where an engine has figures at all, running requests are among them."""
    metrics = case.backend.metrics(case.build)
    if metrics is not None:
        assert metrics.path.startswith("/")
        assert Gauge.RUNNING in metrics.names


@each_case
def test_the_dialect_is_implemented(case: Case) -> None:
    """The load client speaks it, and a request can be written."""
    request = case.backend.request(case.setup)

    assert dialects.path(request).startswith("/")
    assert json.loads(dialects.body(request, "m", "hello", None, Sampling()))


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_releases_have_their_own_names_and_builds(backend: Backend) -> None:
    """An id means one release, an accelerator one build; what is not there is None."""
    ids = [release.id for release in backend.releases]

    assert sorted(set(ids)) == sorted(ids)
    assert backend.release("no-such") is None
    for release in backend.releases:
        kinds = [build.accelerator for build in release.builds]
        assert kinds
        assert sorted(set(kinds)) == sorted(kinds)


@each_build
def test_a_build_knows_its_release(case: Case) -> None:
    """What is asked about a build alone must know which release it is of."""
    assert case.release.id == case.build.release


@each_build
def test_prefix_caching_can_be_switched_as_stated(case: Case) -> None:
    """ON and OFF differ in what is run, unless the engine has no such cache or no such switch."""
    cache = case.backend.prefix_cache(case.build)
    on, off = (
        case.setup.model_copy(update={"prefix_caching": p}) for p in (PrefixCaching.ON, PrefixCaching.OFF)
    )
    differs = (case.backend.serve(on), case.backend.steps(on)) != (
        case.backend.serve(off),
        case.backend.steps(off),
    )

    assert differs is (cache.default_on is not None and cache.can_switch)
    assert (cache.reset_path or "/").startswith("/")


def test_the_default_backend_is_there_and_reads_what_is_made_here() -> None:
    """A bare `make bench` needs neither GPU nor hub."""
    case = next(c for c in CASES if c.backend.name == DEFAULT)

    assert isinstance(case.build, Build)
    assert case.build.packages
    assert WeightsFormat.GGUF in case.model.formats

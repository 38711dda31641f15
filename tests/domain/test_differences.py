"""What differs between two results, and what is no difference."""

from __future__ import annotations

import pytest

from backends.contract import Deviation
from orchestrator.domain.differences import Area, common, differences, of_provenance
from orchestrator.domain.provenance import Provenance
from orchestrator.domain.result import Result
from tests.domain import results
from tests.report import made


def with_provenance(**changes: object) -> Result:
    one = results.result()
    assert one.provenance is not None
    return one.model_copy(update={"provenance": one.provenance.model_copy(update=changes)})


def test_the_same_result_has_none() -> None:
    """Of everything that is known."""
    assert () == differences(results.result(), results.result(rate=2000.0))


@pytest.mark.parametrize(
    ("changes", "area", "field", "second"),
    [
        ({"weights_digest": "sha256:other"}, Area.WORK, "weights", "sha256:other"),
        ({"prompts_digest": "ff"}, Area.WORK, "prompts", "own ff"),
        ({"engine_version": "9"}, Area.ENGINE, "engine version", "9"),
        ({"levelbench": "0.2.0"}, Area.METHOD, "levelbench", "0.2.0"),
        ({"git_dirty": False}, Area.METHOD, "git revision", "7c24e96"),
        ({"effective": {"kv_tokens": "1"}}, Area.SETTINGS, "in force: kv_tokens", "1"),
        ({"effective": {}}, Area.SETTINGS, "in force: kv_tokens", None),
        ({"packages": {"numpy": "3", "httptools": "0.6.4"}}, Area.SOFTWARE, "package numpy", "3"),
        ({"env": {"HF_HUB_OFFLINE": "0"}}, Area.SETTINGS, "environment HF_HUB_OFFLINE", "0"),
        ({"runtime_version": "29"}, Area.SOFTWARE, "runtime version", "29"),
        (
            {"deviations": (Deviation(setting="--parallel", value="4", reason=""),)},
            Area.SETTINGS,
            "deviation --parallel",
            "4",
        ),
        ({"argv": ("serve", "--fast")}, Area.SETTINGS, "command", "serve --fast"),
    ],
)
def test_every_field_of_provenance_is_looked_at(
    changes: dict[str, object], area: Area, field: str, second: str | None
) -> None:
    """One that differs is named, with both values, and nothing else is."""
    (found,) = differences(results.result(), with_provenance(**changes))

    assert (area, field, second) == (found.area, found.field, found.second)


def test_hardware_and_image_are_looked_at() -> None:
    """GPU by GPU."""
    a, h = (results.article("8b/vllm/u10", gpu=gpu).result for gpu in (results.A100, results.H100))
    fields = {d.field for d in differences(a, h)}

    assert {"GPU 0", "GPU 0 card", "GPU 0 driver"} == fields
    provenance = made.provenance(made.group())
    assert provenance.image is not None
    other = provenance.model_copy(
        update={"image": provenance.image.model_copy(update={"digest": "sha256:zz"})}
    )
    assert ["image: sha256:aa -> sha256:zz"] == [d.text for d in of_provenance(provenance, other)]


def test_no_field_of_provenance_is_forgotten() -> None:
    """A new field must be looked at too, or be said to be none of it."""
    assert {
        "levelbench", "git_revision", "git_dirty", "host", "runtime", "runtime_version", "engine_version", "image",
        "argv", "env", "weights_digest", "prompts_name", "prompts_digest", "packages", "effective", "deviations",
        "serving", "gpus", "cpus", "client_selftest",
    } == set(Provenance.model_fields)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("serve", "--port", "8080"), ("serve", "--port", "41211")),
        (("serve", "--server-port", "1"), ("serve", "--server-port", "2")),
        (("python3", "/home/a/x/server.py"), ("python3", "/srv/b/server.py")),
        (("serve", "--model=/a/b/c.gguf"), ("serve", "--model=/d/c.gguf")),
        (("python3", "/work/levelbench/server.py"), ("python3", "{checkout}/server.py")),
    ],
)
def test_places_are_no_difference(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    """A free port, the folder of a cache: another one each time, on each host."""
    assert () == differences(with_provenance(argv=first), with_provenance(argv=second))


def test_numbers_after_other_options_are() -> None:
    """Only a port is free."""
    (found,) = differences(
        with_provenance(argv=("--parallel", "4")), with_provenance(argv=("--parallel", "16"))
    )

    assert "command: --parallel 4 -> --parallel 16" == found.text


def test_work_differs_by_its_workload() -> None:
    """Field by field; which loads were asked for besides does not matter."""
    first = results.result()
    work = first.cell.group.workload
    longer = results.result(workload=work.model_copy(update={"duration_s": 60.0, "users": (1, 2, 3)}))

    assert ["workload.duration_s: 20.0 -> 60.0"] == [d.text for d in differences(first, longer)]


def test_many_pairs_name_a_difference_once() -> None:
    """The weightiest first."""
    driver = differences(results.result(), with_provenance(packages={}))
    weights = differences(results.result(), with_provenance(weights_digest="x"))

    assert [Area.WORK, Area.SOFTWARE, Area.SOFTWARE] == [d.area for d in common([driver, weights, driver])]

"""An adapter that is made up of others."""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract.backend import Backend, Deviation, Refusal, Setup
from backends.contract.failures import FailureSignature
from backends.contract.launch import MetricsMap, PrefixCache, Readback, ReadySpec, ServeSpec, StepSpec
from backends.contract.release import Build, ImageSpec
from backends.contract.request import RequestSpec


class ByRelease(Backend):
    """An engine whose releases are too different for one adapter: each has one of its own, by its id."""

    of: Mapping[str, Backend]

    def supports(self, setup: Setup) -> Refusal | None:
        return self.of[setup.build.release].supports(setup)

    def steps(self, setup: Setup) -> tuple[StepSpec, ...]:
        return self.of[setup.build.release].steps(setup)

    def image(self, build: Build) -> ImageSpec:
        return self.of[build.release].image(build)

    def serve(self, setup: Setup) -> ServeSpec:
        return self.of[setup.build.release].serve(setup)

    def request(self, setup: Setup) -> RequestSpec:
        return self.of[setup.build.release].request(setup)

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return self.of[setup.build.release].deviations(setup)

    def ready(self, build: Build) -> ReadySpec:
        return self.of[build.release].ready(build)

    def prefix_cache(self, build: Build) -> PrefixCache:
        return self.of[build.release].prefix_cache(build)

    def metrics(self, build: Build) -> MetricsMap | None:
        return self.of[build.release].metrics(build)

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return self.of[build.release].readbacks(build)

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return self.of[build.release].failures(build)

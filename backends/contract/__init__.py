"""What crosses the line between an engine's adapter and the orchestrator: plain, frozen values and one ABC.

An adapter is stateless and pure: equal input gives equal output, with no clock, network, file or
environment. It never sees a host path, a container id or a user count.
"""

from backends.contract.article import EMPTY_SYSTEM_BLOCK, SERVING_LAYER
from backends.contract.backend import (
    UNMET,
    Backend,
    Deviation,
    Refusal,
    Setting,
    Setup,
    deviations,
    entries,
    fields,
    variables,
    words,
)
from backends.contract.by_release import ByRelease
from backends.contract.failures import (
    COMMON_FAILURES,
    FailureCause,
    FailureSignature,
)
from backends.contract.launch import (
    Gauge,
    Launch,
    MetricsMap,
    Mount,
    OptionsRef,
    PrefixCache,
    Readback,
    ReadySpec,
    ServeSpec,
    SpecFile,
    StepSpec,
)
from backends.contract.release import (
    Build,
    Facts,
    ImageSpec,
    PackageSet,
    Release,
    SiteFile,
    loads,
)
from backends.contract.request import (
    Dialect,
    RequestField,
    RequestSpec,
    Template,
)
from backends.contract.serving import matched, prefix_switch, unserved
from backends.contract.values import (
    MATCHED,
    Accelerator,
    HostTraits,
    Matched,
    ModelTraits,
    PrefixCaching,
    Profile,
    Quantization,
    Source,
    Value,
    WeightsFormat,
)

__all__ = [
    "COMMON_FAILURES",
    "EMPTY_SYSTEM_BLOCK",
    "MATCHED",
    "SERVING_LAYER",
    "UNMET",
    "Accelerator",
    "Backend",
    "Build",
    "ByRelease",
    "Deviation",
    "Dialect",
    "Facts",
    "FailureCause",
    "FailureSignature",
    "Gauge",
    "HostTraits",
    "ImageSpec",
    "Launch",
    "Matched",
    "MetricsMap",
    "ModelTraits",
    "Mount",
    "OptionsRef",
    "PackageSet",
    "PrefixCache",
    "PrefixCaching",
    "Profile",
    "Quantization",
    "Readback",
    "ReadySpec",
    "Refusal",
    "Release",
    "RequestField",
    "RequestSpec",
    "ServeSpec",
    "Setting",
    "Setup",
    "SiteFile",
    "Source",
    "SpecFile",
    "StepSpec",
    "Template",
    "Value",
    "WeightsFormat",
    "deviations",
    "entries",
    "fields",
    "loads",
    "matched",
    "prefix_switch",
    "unserved",
    "variables",
    "words",
]

"""What crosses the line between an engine's adapter and the orchestrator: plain, frozen values and one ABC.

An adapter is stateless and pure: equal input gives equal output, with no clock, network, file or
environment. It never sees a host path, a container id or a user count.
"""

from backends.contract.backend import (
    Backend,
    Deviation,
    Refusal,
    Setting,
    Setup,
    deviations,
    variables,
    words,
)
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
)
from backends.contract.request import (
    Dialect,
    RequestField,
    RequestSpec,
    Template,
)
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
    "MATCHED",
    "Accelerator",
    "Backend",
    "Build",
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
    "variables",
    "words",
]

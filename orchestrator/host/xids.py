"""Xids: errors that the NVIDIA driver reports, to whoever listens to its events, and in the kernel's log."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from orchestrator.host.gpu import Nvml

KMSG = Path("/dev/kmsg")
RECORD_BYTES = 8192  # no record of /dev/kmsg is longer
MOST_A_TICK = 1000
_LINE = re.compile(rb"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)")

Address = tuple[int, ...]


class DriverEvents:
    """Xids of one GPU as NVML tells them. Where a driver has no events nothing is read, and none is a sign."""

    def __init__(self, nvml: Nvml, uuid: str) -> None:
        self._title = nvml.title(uuid)
        self._set: Any = None
        try:
            handle = nvml.handle(uuid)
            if pynvml.nvmlDeviceGetSupportedEventTypes(handle) & pynvml.nvmlEventTypeXidCriticalError:
                self._set = pynvml.nvmlEventSetCreate()
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
        except (pynvml.NVMLError, KeyError):
            self.close()

    def read(self) -> dict[str, float]:
        """`gpu0.xids`: how many since the reading before; `gpu0.xid_79`: how many of that one."""
        if self._set is None:
            return {}
        found: Counter[int] = Counter()
        try:
            for _ in range(MOST_A_TICK):
                found[int(pynvml.nvmlEventSetWait(self._set, 0).eventData)] += 1
        except pynvml.NVMLError_Timeout:
            pass
        except pynvml.NVMLError:
            if not found:
                return {}
        return _counted(self._title, "xids", found)

    def close(self) -> None:
        if self._set is not None:
            pynvml.nvmlEventSetFree(self._set)
            self._set = None


@dataclass(frozen=True, slots=True)
class KernelLog:
    """Xids as the kernel notes them, from now on: also of a GPU that NVML can tell nothing of any more."""

    descriptor: int
    titles: Mapping[Address, str]

    @classmethod
    def opened(cls, path: Path, uuids: Sequence[str]) -> KernelLog | None:
        """None where this user may not read the log, or no PCI address is known."""
        with Nvml() as nvml:
            known = {uuid: nvml.bus_id(uuid) for uuid in uuids if nvml.knows(uuid)}
            titles = {_address(bus_id): nvml.title(uuid) for uuid, bus_id in known.items() if bus_id}
        if not titles:
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(descriptor, 0, os.SEEK_END)
        except OSError:
            return None
        return cls(descriptor, titles)

    def read(self) -> dict[str, float]:
        """For each GPU, `gpu0.kernel_xids` and `gpu0.xid_79`, since the reading before."""
        found: dict[str, Counter[int]] = {title: Counter() for title in self.titles.values()}
        for record in self._records():
            for address, code in _LINE.findall(record):
                title = self.titles.get(_address(address.decode()))
                if title is not None:
                    found[title][int(code)] += 1
        values: dict[str, float] = {}
        for title, codes in found.items():
            values |= _counted(title, "kernel_xids", codes)
        return values

    def close(self) -> None:
        os.close(self.descriptor)

    def _records(self) -> Iterator[bytes]:
        for _ in range(MOST_A_TICK):
            try:
                record = os.read(self.descriptor, RECORD_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # records were overwritten before they were read: go on with the oldest there is
            if not record:
                return
            yield record


def _counted(title: str, series: str, codes: Counter[int]) -> dict[str, float]:
    each = {f"{title}.xid_{code}": float(n) for code, n in codes.items()}
    return {f"{title}.{series}": float(codes.total()), **each}


def _address(text: str) -> Address:
    """Domain, bus and device: NVML writes 00000000:3B:00.0 where the kernel writes 0000:3b:00."""
    return tuple(int(part, 16) for part in text.partition(".")[0].split(":"))

"""What several processes that share a run must agree on before they measure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from fgmf.errors import FactoryFailed, ProcessLost
from fgmf.running.measuring import gate_name, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.gates.specification import Gate
    from fgmf.processes import Processes

_Loaded = TypeVar("_Loaded")


def load_in_all(processes: Processes, load: Callable[[], _Loaded], gate: Gate) -> _Loaded:
    """Load what a gate needs, and go on only if every process could.

    Args:
        processes: Who shares the work.
        load: Returns what this process needs; may raise.
        gate: The gate that is about to be measured.

    Returns:
        What `load` returned.

    Raises:
        ProcessLost: Another process is gone, or at another gate.
        FactoryFailed: Another process could not load.
        Exception: Whatever `load` raised.
    """
    loaded, error = None, None
    try:
        loaded = load()
    except Exception as raised:  # noqa: BLE001 - told to the others, then raised again
        error = raised
    name = gate_name(gate)
    answers: list[Any] = processes.exchange(
        {"gate": name, "error": None if error is None else one_line(error)}
    )
    if error is not None:
        raise error
    for rank, answer in enumerate(answers):
        if answer.get("gate") != name:
            raise ProcessLost(f"expected process {rank} at gate {name!r}, got it elsewhere")
        if answer["error"] is not None:
            raise FactoryFailed(f"in process {rank}: {answer['error']}")
    return loaded  # type: ignore[return-value] # without an error it was loaded


def local_device(device: str, processes: Processes | None) -> str:
    """Give each process of a machine a GPU of its own.

    Args:
        device: As in the gate file.
        processes: Who shares the work; None leaves the device as it is.

    Returns:
        ``cuda:N`` where the device is `auto` or `cuda` and the machine has several; N is the
        launcher's LOCAL_RANK.
    """
    if processes is None or device not in {"auto", "cuda"}:
        return device
    import torch

    count = torch.cuda.device_count()
    local = os.environ.get("LOCAL_RANK", "")
    number = int(local) if local.isdecimal() else processes.rank
    return f"cuda:{number % count}" if count > 1 else device

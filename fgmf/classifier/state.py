"""The state of a model: what it consists of, whether it changed, and how to put it back.

State is everything that could make a later forward pass differ: parameters, buffers, plain
numbers and strings kept as attributes, train/eval flags. Hooks, `.grad`, `requires_grad`, the
device, and tensors cached as attributes are put back too, but are not part of the digest:
keeping the last attention map in an attribute is a habit, not a change of the model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, dict, set)
_STRUCTURE = ("_parameters", "_buffers", "_modules")


@dataclass(frozen=True, kw_only=True)
class _TensorRecord:
    name: str
    tensor: torch.Tensor
    data: torch.Tensor
    copy: torch.Tensor
    requires_grad: bool
    grad: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class _ModuleRecord:
    name: str
    module: torch.nn.Module
    training: bool
    attributes: dict[str, Any]
    containers: dict[str, Any]
    tables: dict[str, dict[str, Any]]


class ModelSnapshot:
    """Everything that is needed to put a module back exactly as it was.

    Cost: one copy of all parameters and buffers.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        """Record the state of `module` and of all its submodules."""
        self._module = module
        self._tensors = [_tensor_record(name, tensor) for name, tensor in _all_tensors(module)]
        self._modules = [_module_record(name, child) for name, child in module.named_modules()]

    def restore(self) -> list[str]:
        """Put everything back.

        Returns:
            Names of the parts of the state that had changed, sorted; empty if none had.
        """
        now = dict(_all_tensors(self._module))
        changed = {r.name for r in self._tensors if not _unchanged(r, now.get(r.name))}
        for record in self._modules:
            changed.update(_restore_module(record))
        with torch.no_grad():
            for tensor_record in self._tensors:
                _restore_tensor(tensor_record)
        return sorted(changed)


def state_digest(module: torch.nn.Module) -> str:
    """Return ``sha256:<hex>`` over parameters, buffers and plain attributes of a module.

    Cost: one copy of all parameters and buffers to the CPU.
    """
    digest = hashlib.sha256()
    for name, tensor in _all_tensors(module):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}:".encode())
        digest.update(_bytes(tensor).numpy().tobytes())
    for name, child in module.named_modules():
        for key, value in sorted(_plain_attributes(child).items()):
            digest.update(f"{name}.{key}={value!r};".encode())
    return "sha256:" + digest.hexdigest()


def training_modules(module: torch.nn.Module) -> list[str]:
    """Names of the submodules that are in train mode; the module itself is ``"(model)"``."""
    return [name or "(model)" for name, child in module.named_modules() if child.training]


def _all_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=True)
    yield from module.named_buffers(remove_duplicate=True)


def _tensor_record(name: str, tensor: torch.Tensor) -> _TensorRecord:
    return _TensorRecord(
        name=name,
        tensor=tensor,
        data=tensor.data,
        copy=tensor.detach().clone(),
        requires_grad=tensor.requires_grad,
        grad=tensor.grad if tensor.is_leaf else None,
    )


def _unchanged(record: _TensorRecord, now: torch.Tensor | None) -> bool:
    """Compare with the tensor of that name now, wherever and in whatever precision it runs."""
    return now is not None and _same_bits(now.detach(), record.copy.to(now.device, now.dtype))


def _restore_tensor(record: _TensorRecord) -> None:
    tensor = record.tensor
    if tensor.data_ptr() != record.data.data_ptr() or tensor.device != record.data.device:
        tensor.data = record.data
    if not _same_bits(record.data, record.copy):
        record.data.copy_(record.copy)
    if tensor.is_leaf:
        tensor.requires_grad_(record.requires_grad)
        tensor.grad = record.grad


def _module_record(name: str, module: torch.nn.Module) -> _ModuleRecord:
    own = vars(module)
    tables = {
        key: dict(value)
        for key, value in own.items()
        if isinstance(value, dict) and (key in _STRUCTURE or key.endswith("_hooks"))
    }
    attributes = {k: v for k, v in own.items() if k not in tables and k != "training"}
    return _ModuleRecord(
        name=name,
        module=module,
        training=module.training,
        attributes=attributes,
        containers={k: v.copy() for k, v in attributes.items() if type(v) in _CONTAINERS},
        tables=tables,
    )


def _restore_module(record: _ModuleRecord) -> list[str]:
    own = vars(record.module)
    prefix = f"{record.name}." if record.name else ""
    before = {k: v for k, v in record.attributes.items() if isinstance(v, _PLAIN)}
    after = _plain_attributes(record.module)
    changed = [
        prefix + key
        for key in before.keys() | after.keys()
        if repr(before.get(key)) != repr(after.get(key)) or (key in before) != (key in after)
    ]
    for key in [k for k in own if k not in record.attributes and k not in record.tables]:
        if key != "training":
            del own[key]
    own.update(record.attributes)
    for key, contents in record.containers.items():
        _refill(own[key], contents)
    for key, table in record.tables.items():
        if own[key].keys() != table.keys() and key in _STRUCTURE:
            changed.append(f"{prefix}{key}")
        own[key].clear()
        own[key].update(table)
    record.module.training = record.training
    return changed


def _refill(container: Any, contents: Any) -> None:  # noqa: ANN401 - a list, dict or set
    if isinstance(container, list):
        container[:] = contents
    else:
        container.clear()
        container.update(contents)


def _plain_attributes(module: torch.nn.Module) -> dict[str, Any]:
    own = vars(module).items()
    return {k: v for k, v in own if isinstance(v, _PLAIN) and k != "training"}


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8) if flat.numel() else flat.to(torch.uint8)


def _same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Bitwise equality, so that NaN equals itself; equal values settle most cases at once."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    on_one_device = right.to(left.device)
    return torch.equal(left, on_one_device) or torch.equal(_bytes(left), _bytes(on_one_device))

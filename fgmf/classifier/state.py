"""The state of a model: what it consists of, whether it changed, and how to put it back.

State is everything that could make a later forward pass differ: parameters, buffers, plain
numbers and strings kept as attributes, train/eval flags. Hooks, `.grad`, `requires_grad`, the
device, and the contents of tensors, arrays, containers and random generators kept as attributes
are put back too, but are not part of the digest: keeping the last attention map in an attribute
is a habit, not a change of the model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from fgmf.classifier.contents import Undo, byte_view, refill, same_bits, undo_contents
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_STRUCTURE = ("_parameters", "_buffers", "_modules")


@dataclass(frozen=True, kw_only=True)
class _TensorRecord:
    name: str
    tensor: torch.Tensor
    data: torch.Tensor
    copy: torch.Tensor
    requires_grad: bool
    grad: torch.Tensor | None
    grad_data: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class _ModuleRecord:
    name: str
    module: torch.nn.Module
    training: bool
    attributes: dict[str, Any]
    contents: list[Undo]
    tables: dict[str, tuple[dict[str, Any], dict[str, Any]]]


class ModelSnapshot:
    """Everything that is needed to put a module back exactly as it was.

    Cost: one copy of all parameters and buffers.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        """Record the state of `module` and of all its submodules.

        Raises:
            InvalidInput: A parameter has no shape yet.
        """
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
        digest.update(byte_view(tensor).cpu().numpy().tobytes())
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
    if is_lazy(tensor):
        message = f"expected an initialised model, got the lazy parameter {name}"
        raise InvalidInput(f"{message}; pass one batch through the model first")
    grad = tensor.grad if tensor.is_leaf else None
    return _TensorRecord(
        name=name,
        tensor=tensor,
        data=tensor.data,
        copy=tensor.detach().clone(),
        requires_grad=tensor.requires_grad,
        grad=grad,
        grad_data=None if grad is None else grad.data,
    )


def _unchanged(record: _TensorRecord, now: torch.Tensor | None) -> bool:
    """Compare with the tensor of that name now, wherever and in whatever precision it runs."""
    return now is not None and same_bits(now.detach(), record.copy.to(now.device, now.dtype))


def _restore_tensor(record: _TensorRecord) -> None:
    tensor = record.tensor
    if tensor.data_ptr() != record.data.data_ptr() or tensor.device != record.data.device:
        tensor.data = record.data
    if not same_bits(record.data, record.copy):
        record.data.copy_(record.copy)
    if tensor.is_leaf:
        if tensor.requires_grad != record.requires_grad:
            tensor.requires_grad_(record.requires_grad)
        if record.grad is not None and record.grad_data is not None:
            # Where a model moves to another device or type, its gradients move with it.
            record.grad.data = record.grad_data
        if tensor.grad is not record.grad:
            tensor.grad = record.grad


def _module_record(name: str, module: torch.nn.Module) -> _ModuleRecord:
    own = vars(module)
    tables = {
        key: (value, dict(value))
        for key, value in own.items()
        if isinstance(value, dict) and key in _STRUCTURE
    }
    attributes = {k: v for k, v in own.items() if k not in tables and k != "training"}
    return _ModuleRecord(
        name=name,
        module=module,
        training=module.training,
        attributes=attributes,
        contents=[undo for value in attributes.values() for undo in undo_contents(value)],
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
    for undo in record.contents:
        undo()
    for key, (table, entries) in record.tables.items():
        if own[key].keys() != entries.keys():
            changed.append(f"{prefix}{key}")
        own[key] = table
        refill(table, entries)
    record.module.training = record.training
    return changed


def _plain_attributes(module: torch.nn.Module) -> dict[str, Any]:
    own = vars(module).items()
    return {k: v for k, v in own if isinstance(v, _PLAIN) and k != "training"}

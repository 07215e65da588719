"""The messages of etcd's API (https://etcd.io/docs/v3.5/learning/api/), in a pool of descriptors of their own.

Nothing is generated: `etcd.binpb` holds the descriptors of etcd 3.4's protos, and the classes are made from
it when this module is imported. The pool is private, so that another package with its own copy of the same protos
does no harm. What newer servers add arrives as unknown fields.

    Put = message("PutRequest")
    data = Put(key=b"/a", value=b"1").SerializeToString()
    METHODS["KV.Range"].path == "/etcdserverpb.KV/Range"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_RPC: Final = "etcdserverpb"
_PACKAGES: Final = (_RPC, "mvccpb", "authpb")


@dataclass(frozen=True, slots=True)
class Method:
    """One remote call: its whole path, the classes of what is sent and answered, and which of them are streams."""

    path: str
    request: Any
    response: Any
    client_streaming: bool
    server_streaming: bool


def _load() -> descriptor_pb2.FileDescriptorSet:
    data = files(__package__).joinpath("etcd.binpb").read_bytes()
    return descriptor_pb2.FileDescriptorSet.FromString(data)


_FILES: Final = _load()
_POOL: Final = descriptor_pool.DescriptorPool()
for _file in _FILES.file:
    _POOL.Add(_file)

_classes: dict[str, Any] = {}


def message(name: str) -> Any:
    """The class of the message `name`: `RangeRequest`, `KeyValue`, or a full name as `mvccpb.KeyValue`.

    `KeyError` when there is none. Always the same class for the same name.
    """
    found = _classes.get(name)
    if found is None:
        for full in (name, *(f"{package}.{name}" for package in _PACKAGES)):
            try:
                descriptor = _POOL.FindMessageTypeByName(full)
            except KeyError:
                continue
            found = _classes[name] = message_factory.GetMessageClass(descriptor)
            return found
        raise KeyError(f"etcd has no message {name!r}")
    return found


def _methods() -> dict[str, Method]:
    methods = {}
    for file in _FILES.file:
        for service in file.service:
            for method in service.method:
                methods[f"{service.name}.{method.name}"] = Method(
                    f"/{file.package}.{service.name}/{method.name}",
                    message(method.input_type.lstrip(".")),
                    message(method.output_type.lstrip(".")),
                    method.client_streaming,
                    method.server_streaming,
                )
    return methods


METHODS: Final[Mapping[str, Method]] = MappingProxyType(_methods())
"""Every remote call of etcd by service and method: `KV.Range`, `KV.Txn`, `Watch.Watch`, `Lease.LeaseGrant`, ..."""

BY_PATH: Final[Mapping[str, Method]] = MappingProxyType({method.path: method for method in METHODS.values()})
"""The same by whole path, as a proxy meets them."""

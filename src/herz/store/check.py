"""What a transaction must not be: too large, or in contradiction with itself. Every store asks here first."""

from __future__ import annotations

from collections.abc import Sequence

from herz.errors import StoreError, UsageError
from herz.store.base import OVERHEAD_BYTES, Delete, DeletePrefix, Limits, Operation, Put, Txn
from herz.store.keys import encoded, encoded_prefix


def check(txn: Txn, limits: Limits) -> None:
    """Refuse what an etcd server would refuse: `StoreError` for size, `UsageError` for contradictions."""
    for branch in (txn.compares, txn.then, txn.otherwise):
        if len(branch) > limits.operations:
            raise StoreError(
                f"a transaction of {len(branch)} operations, at most {limits.operations} are taken",
                remedy="split it, or keep the values in one document",
            )
    size = 0
    for compare in txn.compares:
        size += len(encoded(compare.key)) + OVERHEAD_BYTES
        if isinstance(compare.operand, bytes) != (compare.target == "value"):
            raise UsageError(f"{compare!r}: a value is compared with bytes, everything else with an integer")
        size += len(compare.operand) if isinstance(compare.operand, bytes) else 0
    for branch in (txn.then, txn.otherwise):
        size += _checked_branch(branch, limits)
    if size > limits.request_bytes:
        raise StoreError(
            f"a transaction of {size:,} bytes, at most {limits.request_bytes:,} are taken", remedy="split it"
        )


def _checked_branch(operations: Sequence[Operation], limits: Limits) -> int:
    """The bytes that a branch takes."""
    size = 0
    puts: set[bytes] = set()
    for operation in operations:
        key = encoded_prefix(operation.prefix) if isinstance(operation, DeletePrefix) else encoded(operation.key)
        size += len(key) + OVERHEAD_BYTES
        if isinstance(operation, Put):
            taken = len(key) + OVERHEAD_BYTES + len(operation.value)
            if taken > limits.request_bytes:
                raise StoreError(
                    f"a value of {len(operation.value):,} bytes, at most "
                    f"{limits.request_bytes - len(key) - OVERHEAD_BYTES:,} fit under this key",
                    where=operation.key,
                    remedy="split the value into chunks of at most 512 KiB",
                )
            size += len(operation.value)
            if key in puts:
                raise UsageError(f"key {operation.key!r} is put twice in one transaction", remedy="put it once")
            puts.add(key)
    for operation in operations:
        if isinstance(operation, Delete) and encoded(operation.key) in puts:
            raise UsageError(
                f"key {operation.key!r} is both put and deleted in one transaction", remedy="do one of them"
            )
        if isinstance(operation, DeletePrefix):
            prefix = encoded_prefix(operation.prefix)
            for key in puts:
                if key.startswith(prefix):
                    raise UsageError(
                        f"key {key.decode()!r} is put, and deleted with {operation.prefix!r}, in one transaction",
                        remedy="do one of them",
                    )
    return size

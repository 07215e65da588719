"""Between the store's values and etcd's messages."""

from __future__ import annotations

from typing import Any, Final

from herz.store.base import Compare, Delete, DeletePrefix, Entry, EventType, Get, KeyEvent, Operation, Put, Txn
from herz.store.etcd.messages import message
from herz.store.keys import encoded, encoded_prefix, prefix_end

_RELATIONS: Final = {"=": 0, ">": 1, "<": 2, "!=": 3}
_TARGETS: Final = {"version": 0, "create_revision": 1, "mod_revision": 2, "value": 3, "lease": 4}
_PUT, _DELETE = EventType.PUT, EventType.DELETE
_EVERY: Final = b"\0"
"""As a key: the smallest. As an end: there is none."""

Range = message("RangeRequest")
_CompareMessage = message("Compare")
_Op = message("RequestOp")
_Put = message("PutRequest")
_DeleteRange = message("DeleteRangeRequest")
_Txn = message("TxnRequest")


def bounds(prefix: str) -> tuple[bytes, bytes]:
    """The first key under a prefix, and the end, as etcd wants them."""
    start = encoded_prefix(prefix)
    return start or _EVERY, prefix_end(start) or _EVERY


def behind(prefix: str, after: str | None) -> tuple[bytes, bytes]:
    """The same for the keys behind `after`."""
    start, end = bounds(prefix)
    if after is not None:
        start = max(start, after.encode("utf-8", "surrogateescape") + b"\0")
    return start, end


def entry(kv: Any) -> Entry:
    """A key of etcd. Bytes of a key that are no UTF-8 are kept as surrogates, so that reading in pages goes on."""
    return Entry(
        kv.key.decode("utf-8", "surrogateescape"),
        kv.value,
        kv.create_revision,
        kv.mod_revision,
        kv.version,
        kv.lease or None,
    )


def key_event(event: Any) -> KeyEvent:
    """An event of etcd; a deletion brings the key and its revision only."""
    return KeyEvent(
        _DELETE if event.type else _PUT,
        entry(event.kv),
        entry(event.prev_kv) if event.HasField("prev_kv") else None,
    )


def txn_request(txn: Txn) -> Any:
    """A transaction as etcd takes it; every write asks for what it replaces."""
    return _Txn(
        compare=[_compare(compare) for compare in txn.compares],
        success=[_operation(operation) for operation in txn.then],
        failure=[_operation(operation) for operation in txn.otherwise],
    )


def results(response: Any) -> tuple[tuple[Entry, ...], ...]:
    """What each operation of the branch that ran has read or replaced."""
    return tuple(_result(answer) for answer in response.responses)


def _compare(compare: Compare) -> Any:
    request = _CompareMessage(
        key=encoded(compare.key), result=_RELATIONS[compare.relation], target=_TARGETS[compare.target]
    )
    setattr(request, compare.target, compare.operand)
    return request


def _operation(operation: Operation) -> Any:
    match operation:
        case Put(key, value, lease):
            return _Op(request_put=_Put(key=encoded(key), value=value, lease=lease or 0, prev_kv=True))
        case Delete(key):
            return _Op(request_delete_range=_DeleteRange(key=encoded(key), prev_kv=True))
        case DeletePrefix(prefix):
            start, end = bounds(prefix)
            return _Op(request_delete_range=_DeleteRange(key=start, range_end=end, prev_kv=True))
        case Get(key):
            return _Op(request_range=Range(key=encoded(key)))


def _result(answer: Any) -> tuple[Entry, ...]:
    match answer.WhichOneof("response"):
        case "response_put":
            put = answer.response_put
            return (entry(put.prev_kv),) if put.HasField("prev_kv") else ()
        case "response_delete_range":
            return tuple(map(entry, answer.response_delete_range.prev_kvs))
        case _:
            return tuple(map(entry, answer.response_range.kvs))

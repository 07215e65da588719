"""Rebuild `src/herz/store/etcd/etcd.binpb`, the message types of etcd's API, from a folder with its protos.

    tools/etcd_protos.py /usr/share/gocode/src/go.etcd.io/etcd

The folder is a checkout of etcd 3.4 or newer, or what Debian's `golang-etcd-server-dev` installs. The
options for Go and for the HTTP gateway are left out: they say nothing about what goes over the wire, and their
protos would have to be shipped too. Needs `protoc` (Debian: protobuf-compiler).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src" / "herz" / "store" / "etcd" / "etcd.binpb"

# Where a proto lies in the folder (3.4, or 3.5 and newer), and the name under which the others import it.
PROTOS = {
    "mvccpb/kv.proto": ("mvcc/mvccpb/kv.proto", "api/mvccpb/kv.proto"),
    "authpb/auth.proto": ("auth/authpb/auth.proto", "api/authpb/auth.proto"),
    "etcdserverpb/rpc.proto": ("etcdserver/etcdserverpb/rpc.proto", "api/etcdserverpb/rpc.proto"),
}

_IMPORT = re.compile(r'^import "(?:\S*/)?(\w+/\w+\.proto)";$', re.MULTILINE)
_DROPPED_IMPORT = re.compile(
    r'^import "(?:gogoproto|google/api|protoc-gen-openapiv2|etcd/api/versionpb)/.*\n', re.MULTILINE
)
_FILE_OPTION = re.compile(r"^\s*option \((?:gogoproto|versionpb|.*openapiv2)\S*\) = .*;\n", re.MULTILINE)
_HTTP_OPTION = re.compile(r"option \(google\.api\.http\) = \{(?:[^{}]|\{[^}]*\})*\};")
_FIELD_OPTION = re.compile(r"\s*\[\s*\((?:gogoproto|versionpb)\.\w+\)[^\]]*\]")


def stripped(text: str) -> str:
    """A proto without the options that need other protos, its imports by short names."""
    text = _HTTP_OPTION.sub("", _DROPPED_IMPORT.sub("", text))
    text = _FIELD_OPTION.sub("", _FILE_OPTION.sub("", text))
    return _IMPORT.sub(r'import "\1";', text)


def main(folder: Path) -> None:
    """Write the set of descriptors, without comments."""
    with tempfile.TemporaryDirectory() as work:
        for name, places in PROTOS.items():
            found = next((folder / place for place in places if (folder / place).is_file()), None)
            if found is None:
                sys.exit(f"none of {', '.join(places)} in {folder}")
            target = Path(work, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(stripped(found.read_text(encoding="utf-8")), encoding="utf-8")
        command = [
            "protoc",
            f"-I{work}",
            f"--descriptor_set_out={TARGET}",
            "--include_imports",
            "etcdserverpb/rpc.proto",
        ]
        subprocess.run(command, check=True)
    sys.stdout.write(f"{TARGET}: {TARGET.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

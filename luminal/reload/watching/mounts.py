"""Which directories send no events: file systems that are changed from elsewhere.

Reads the kernel's table of mounts. It must not touch the mounted systems themselves:
a dead server would hang whoever asks.
"""

from __future__ import annotations

import os

__all__ = ["silent_file_system"]

_SILENT = frozenset(
    {
        *("9p", "afs", "autofs", "ceph", "cifs", "coda", "drvfs", "fakeowner", "gfs2"),
        *("glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs"),
        *("smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"),
    }
)
_TABLE = "/proc/self/mounts"


def silent_file_system(directory: str, table: str = _TABLE) -> str | None:
    """Return the type of a file system without reliable events that *directory* uses.

    Args:
        directory: A real path, free of links.
        table: File with the mounts, in the format of fstab(5).

    Returns:
        The type's name, of the file system that holds *directory* or of one mounted
        below it; None where all of them send events, or nothing is known.
    """
    holder, holder_type = "", ""
    inside = directory.rstrip(os.sep) + os.sep
    try:
        with open(table, "rb") as lines:
            mounts = [line.split() for line in lines]
    except OSError:
        return None
    for fields in mounts:
        point = _unescape(fields[1])
        kind = os.fsdecode(fields[2])
        if point.startswith(inside):
            if _is_silent(kind):
                return kind
        elif inside.startswith(point.rstrip(os.sep) + os.sep) and len(point) >= len(
            holder
        ):
            # Of two mounts on one point the later one is seen.
            holder, holder_type = point, kind
    return holder_type if _is_silent(holder_type) else None


def _is_silent(kind: str) -> bool:
    # A block device through FUSE (ntfs, exfat) is changed by this kernel alone.
    return kind in _SILENT or (kind.startswith("fuse") and kind != "fuseblk")


def _unescape(field: bytes) -> str:
    for code, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n")):
        field = field.replace(code, byte)
    return os.fsdecode(field.replace(b"\\134", b"\\"))

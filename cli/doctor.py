"""keras-parts doctor"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from keras_parts.cli.cache import in_words
from keras_parts.cli.group import FAILED
from keras_parts.cli.options import CommandResult, examples, output_options
from keras_parts.cli.runtime import BACKENDS, has_backend, import_keras, select_backend
from keras_parts.errors import KerasPartsError, hide_secrets

_NAME = "keras-parts"
_ONNX = "onnxruntime"
_PACKAGES = ("keras", "numpy", "pillow", "scikit-learn", "scipy", "matplotlib", "h5py", _ONNX)
_LIGHT = (
    "No backend of Keras: `segment` runs the models of the package and exports with ONNX Runtime. "
    "For your own models, training and evaluation: pip install 'keras-parts[tensorflow,train]'"
)
_FOR_GPUS = "-gpu"
"""How the names of extras end that are of use with a GPU only."""
_SHOWN = 3
"""Packages that are named for an extra that lacks more of them."""


@click.command(epilog=examples("doctor", "doctor --json"))
@output_options
def doctor(quiet: bool) -> CommandResult:
    """Show versions, devices, folders, extras, and what is wrong.

    The exit code is 1 if there is a problem. Paste the output into a report about a fault.
    """
    from keras_parts import __version__
    from keras_parts.environment import package_version, variables

    problems: list[str] = []
    # Before the backend is selected, which sets some itself.
    set_by_user = {name: hide_secrets(value) for name, value in variables().items()}
    content: dict[str, Any] = {
        "keras_parts": __version__,
        "folder": str(Path(sys.modules["keras_parts"].__file__ or "").parent),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "packages": {name: package_version(name) for name in _PACKAGES},
        "backends": {name: package_version(name) for name in BACKENDS},
        "backend": None,
        "devices": [],
    }
    content["light"] = not has_backend() and content["packages"][_ONNX] is not None
    try:
        if not content["light"]:
            content["backend"], remark = select_backend()
            problems += [remark] if remark else []
            content["devices"] = _devices(content["backend"])
    except (KerasPartsError, ImportError, RuntimeError) as error:
        problems.append(f"{type(error).__name__}: {error}")
    content["folders"] = _folders(problems)
    content["variables"] = set_by_user
    content["extras"] = _extras(with_gpu=_has_gpu(content["devices"]))
    content["problems"] = problems
    return CommandResult(content, _text(content), FAILED if problems else 0)


def _devices(backend: str) -> list[str]:
    """The devices of a backend, which is imported for it."""
    import_keras()
    if backend == "torch":
        import torch

        count = torch.cuda.device_count()
        return ["cpu", *(torch.cuda.get_device_name(index) for index in range(count))]
    import keras

    return [str(device) for device in keras.distribution.list_devices()]


def _has_gpu(devices: list[str]) -> bool:
    """Whether there is a GPU, even if the installed backend cannot use it."""
    others = [device for device in devices if not device.lower().startswith("cpu")]
    return bool(others) or shutil.which("nvidia-smi") is not None


def _folders(problems: list[str]) -> dict[str, dict[str, Any]]:
    """Path and size of the package's folders; problems are added to the list."""
    from keras_parts.environment import (
        DATA_VARIABLE,
        cache_folder,
        cache_path,
        data_folder,
        weights_folder,
    )
    from keras_parts.files import folder_bytes

    features, models, data = cache_path("features"), cache_path("zoo"), data_folder()
    found: dict[str, dict[str, Any]] = {
        "cache": {"path": cache_folder()},
        "teacher features": {"path": features, "bytes": folder_bytes(features)},
        "downloaded models": {"path": models, "bytes": folder_bytes(models)},
        "weights": {"path": weights_folder(), "bytes": folder_bytes(weights_folder())},
    }
    if data is not None:
        found["data sets"] = {"path": data}
        if not data.is_dir():
            problems.append(f"{DATA_VARIABLE} is {data}, but there is no such folder")
    return found


def _extras(*, with_gpu: bool) -> dict[str, list[str]] | None:
    """Extra -> the packages that it lacks; None if the package was not installed."""
    try:
        extras = metadata.metadata(_NAME).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return None
    return {
        extra: list(dict.fromkeys(_lacking_in(_NAME, extra)))
        for extra in extras
        if with_gpu or not extra.endswith(_FOR_GPUS)
    }


def _lacking_in(package: str, extra: str) -> Iterator[str]:
    """The requirements of an extra that are not met, with those of the extras it consists of."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, metadata.requires(package) or []):
        marker = requirement.marker
        if (
            marker is None
            or marker.evaluate({"extra": ""})
            or not marker.evaluate({"extra": extra})
        ):
            continue
        try:
            if requirement.name != _NAME and not _is_there(requirement):
                raise metadata.PackageNotFoundError
            for inner in sorted(requirement.extras):
                yield from _lacking_in(requirement.name, inner)
        except metadata.PackageNotFoundError:
            yield str(requirement).partition(";")[0].strip()


def _is_there(requirement: Any) -> bool:
    """Whether a package is installed in a version that the requirement accepts."""
    from keras_parts.environment import package_version

    version = package_version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _text(content: Mapping[str, Any]) -> str:
    packages = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in content["packages"].items()
    )
    lines = [
        *_problem_lines(content["problems"]),
        f"keras-parts {content['keras_parts']} in {content['folder']}",
        f"Python {content['python']}, {content['system']}, {content['processors']} processors",
        f"Packages: {packages}",
    ]
    backends = [
        f"{name} {version or 'not installed'}{' (used)' * (name == content['backend'])}"
        for name, version in content["backends"].items()
    ]
    lines.append(f"Backends: {', '.join(backends)}")
    lines.append(_LIGHT if content["light"] else f"Devices: {', '.join(content['devices'])}")
    lines.append("Folders:")
    for name, folder in content["folders"].items():
        size = f" ({in_words(folder['bytes'])})" if "bytes" in folder else ""
        lines.append(f"  {name}: {folder['path']}{size}")
    named = [f"  {name}={value}" for name, value in content["variables"].items()]
    lines += ["Variables:", *named] if named else []
    return "\n".join([*lines, *_extra_lines(content["extras"])])


def _problem_lines(problems: Sequence[str]) -> list[str]:
    if not problems:
        return ["No problem found."]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return [f"{count} found:", *(f"  {problem}" for problem in problems)]


def _extra_lines(extras: Mapping[str, Sequence[str]] | None) -> list[str]:
    if extras is None:
        return ["Extras: unknown, because the package runs without being installed"]
    complete = [extra for extra, lacking in extras.items() if not lacking]
    lines = [f"Extras: {', '.join(complete) or 'none'}"]
    if len(complete) < len(extras):
        lines.append("Extras that are not installed, or not completely (with what they lack):")
    for extra, lacking in extras.items():
        if lacking:
            more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
            lines.append(f"  {extra}: {', '.join(lacking[:_SHOWN])}{more}")
    return lines

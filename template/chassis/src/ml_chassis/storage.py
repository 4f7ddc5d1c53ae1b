"""Files of the model registry: in a folder, or in object storage, such as s3://bucket/models.

A file is whole or absent, and so is a folder of files. Object storage has no folders, so there the
last file of one is what makes it whole.
"""

import errno
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError

Root = Path | str
"""A folder, or the URL of one."""
EXTRAS = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az"}
"""The extra of pyproject.toml that brings the driver, by scheme."""


class StorageError(UserError):
    """The storage cannot be reached, or its driver is not installed."""


def folder(root: Root) -> Path | None:
    """Return the folder on this machine, or None for one elsewhere."""
    text = str(root).removeprefix("file://")
    return None if "://" in text else Path(text)


def read(root: Root, name: str) -> bytes:
    """Return what a file holds.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: the storage cannot be reached.
    """
    if local := folder(root):
        try:
            return (local / name).read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(str(error)) from None
    with _open(root) as (files, path):
        content: bytes = files.cat_file(f"{path}/{name}")
    return content


def write(root: Root, name: str, content: bytes) -> None:
    """Put a file in the place of one that may be there.

    Raises:
        StorageError: the storage cannot be reached.
    """
    if local := folder(root):
        local.mkdir(parents=True, exist_ok=True)
        incoming = local / f".{secrets.token_hex(4)}"
        incoming.write_bytes(content)
        incoming.replace(local / name)
        return
    with _open(root, writing=True) as (files, path):
        files.pipe_file(f"{path}/{name}", content)


def require_writable(root: Root) -> None:
    """Find out before long work whether its result can be kept; object storage is not asked.

    Raises:
        StorageError: the folder cannot be made, or nothing can be written into it.
    """
    if not (local := folder(root)):
        return
    probe = local / f".{secrets.token_hex(4)}"
    try:
        local.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"{local} cannot be written: {error.strerror}.") from None


def write_folder(root: Root, name: str, files: Mapping[str, bytes]) -> None:
    """Put files into a folder that is not there yet; the last one makes it whole.

    Raises:
        FileExistsError: it is there, on this machine; elsewhere nobody can say so in one step.
        StorageError: the storage cannot be reached.
    """
    local = folder(root)
    if not local:
        for each, content in files.items():
            write(root, f"{name}/{each}", content)
        return
    incoming = local / f".{name}.{secrets.token_hex(4)}"
    incoming.mkdir(parents=True)
    try:
        for each, content in files.items():
            (incoming / each).write_bytes(content)
        incoming.rename(local / name)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
            raise FileExistsError(f"{local / name} is there") from None
        raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def find(root: Root, name: str) -> list[str]:
    """Return the folders that hold a file of a name.

    Raises:
        StorageError: the storage cannot be reached.
    """
    if local := folder(root):
        return [path.parent.name for path in local.glob(f"*/{name}")]
    try:
        with _open(root) as (files, path):
            found = [str(each).removeprefix(f"{path}/") for each in files.find(path)]
    except FileNotFoundError:
        return []
    return [each.removesuffix(f"/{name}") for each in found if each.endswith(f"/{name}")]


@contextmanager
def _open(root: Root, writing: bool = False) -> Iterator[tuple[Any, str]]:
    """Yield the file system of a URL and the path in it."""
    from fsspec.core import url_to_fs  # it takes a while, and a folder needs none

    url = str(root)
    scheme = url.partition("://")[0]
    if scheme not in EXTRAS:
        raise StorageError(f"{url}: use a folder, or a URL that begins with s3://, gs:// or az://.")
    try:
        # What others have written is to be seen, so no listing is kept.
        yield url_to_fs(url, use_listings_cache=False)
    except ImportError:
        extra = EXTRAS[scheme]
        raise StorageError(
            f"{url}: its driver is not installed: `make setup EXTRA={extra}`, "
            f"and for the image `make image EXTRA={extra}`."
        ) from None
    except FileNotFoundError as error:
        if writing:
            raise StorageError(f"{url}: {error}") from None
        raise
    except Exception as error:  # each driver has its own
        raise StorageError(f"{url}: cannot be reached: {error}") from error

"""Files of the model registry: in a folder, or in object storage, such as s3://bucket/models.

A file is whole or absent, and so is a folder of files. Object storage has no folders, so there the
last file of one is what makes it whole.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:  # a folder needs none
    from obstore.store import ObjectStore

Root = Path | str
"""A folder, or the URL of one."""
SCHEMES = ("s3", "gs", "az", "abfs")
CONNECT_SECONDS, ANSWER_SECONDS = 5, 60
RETRIES = 2
MARK = "token"
"""Of a file in object storage: the attribute by which its writer knows it."""


class StorageError(UserError):
    """The storage cannot be reached."""


class ChangedError(UserError):
    """A file is no longer what was read."""


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
    with _open(root) as store:
        return store.get(name).bytes().to_bytes()


def read_or_none(root: Root, name: str) -> bytes | None:
    """Return what a file holds, or None where there is no such file.

    Raises:
        StorageError: the storage cannot be reached.
    """
    with suppress(FileNotFoundError, IsADirectoryError):
        return read(root, name)
    return None


def write(root: Root, name: str, content: bytes) -> None:
    """Put a file in the place of one that may be there.

    Raises:
        StorageError: the storage cannot be reached.
    """
    if local := folder(root):
        local.mkdir(parents=True, exist_ok=True)
        incoming = local / f".{secrets.token_hex(4)}"
        try:
            with incoming.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else a machine that fails may leave an empty one
            incoming.replace(local / name)
        except OSError:
            incoming.unlink(missing_ok=True)
            raise
        return
    with _open(root, writing=True) as store:
        store.put(name, content)


def replace(root: Root, name: str, content: bytes, seen: bytes | None) -> None:
    """Put a file in the place of one, in one step, unless that was changed meanwhile.

    Args:
        root: Folder or URL.
        name: Of the file.
        content: What it is to hold.
        seen: What it held when it was read; None: it was not there.

    Raises:
        ChangedError: it holds something else by now.
        StorageError: the storage cannot be reached.
    """
    changed = ChangedError(f"Somebody else has changed {root}/{name} meanwhile: look, and repeat.")
    if local := folder(root):
        local.mkdir(parents=True, exist_ok=True)
        with _locked(local):
            if read_or_none(root, name) != seen:
                raise changed
            write(root, name, content)
        return
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    ours = {MARK: secrets.token_hex(8)}
    with _open(root, writing=True) as store:
        try:
            if seen is None:
                store.put(name, content, mode="create", attributes=ours)
                return
            found = store.get(name)
            if found.bytes().to_bytes() != seen:
                raise changed
            store.put(name, content, mode={"e_tag": found.meta["e_tag"]}, attributes=ours)
        except (AlreadyExistsError, PreconditionError):
            # Where an answer was lost, the request was repeated, and met what it had written.
            if store.get(name).attributes.get(MARK) != ours[MARK]:
                raise changed from None


@contextmanager
def _locked(local: Path) -> Iterator[None]:
    """Keep others out of a folder; a file for it would belong to whoever was first."""
    descriptor = os.open(local, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
        FileExistsError: it is there.
        StorageError: the storage cannot be reached.
    """
    local = folder(root)
    if not local:
        *others, last = files
        for each in others:
            write(root, f"{name}/{each}", files[each])
        try:
            replace(root, f"{name}/{last}", files[last], None)
        except ChangedError:
            raise FileExistsError(f"{root}/{name} is there") from None
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
    with suppress(FileNotFoundError), _open(root) as store:
        found = [each["path"] for part in store.list() for each in part]
        return [each.removesuffix(f"/{name}") for each in found if each.endswith(f"/{name}")]
    return []


@contextmanager
def _open(root: Root, writing: bool = False) -> Iterator["ObjectStore"]:
    """Yield what is behind a URL; no process that is a copy of this one may do so, too."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
    from obstore.store import from_url

    url = str(root)
    if url.partition("://")[0] not in SCHEMES:
        raise StorageError(f"{url}: use a folder, or a URL that begins with s3://, gs:// or az://.")
    try:
        yield from_url(
            url,
            client_options={
                "allow_http": True,  # where the address that is given says so
                "connect_timeout": f"{CONNECT_SECONDS}s",
                "timeout": f"{ANSWER_SECONDS}s",
            },
            retry_config={"max_retries": RETRIES},
        )
    except (AlreadyExistsError, PreconditionError):
        raise
    except FileNotFoundError as error:
        if writing:
            raise StorageError(f"{url}: is it there? {_reason(error)}") from None
        raise
    except (BaseError, ValueError) as error:
        raise StorageError(f"{url}: cannot be reached: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the first line, without the page that came with it."""
    return str(error).partition("\n")[0].partition(": <?xml")[0]

"""Raw inputs that lie elsewhere: addresses of a recipe, and what has come of them into the store's raw cache.

A plan asks for listings at most and fetches nothing: it says what has still to come. A stage fetches, once; afterwards a file
is known by its digest, and its bytes are needed only by the stage that reads them. The cache may be removed at any time.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from data.addresses import Address, AddressError, is_remote, parse_address
from data.raw_folder import Progress, RawFolder
from data.transfer import DownloadConfig, TransferError
from tasks.raw_inputs import NotFetched
from tasks.recipe import Resources
from tasks.recipe_file import RecipeError
from tasks.stage import RawFile, StageFailed, Transient

_PLAN_RETRIES = 2


@dataclass(frozen=True)
class RemoteInputs:
    """Addresses as raw inputs: `root` is the raw cache, with one folder an address; `free` bytes of its disk stay free."""

    root: Path
    config: DownloadConfig
    free: int = 0

    @classmethod
    def of(cls, root: Path, resources: Resources) -> "RemoteInputs":
        """With the settings of a recipe."""
        return cls(root, resources.download, int(resources.min_free_gib * 2**30))

    def files(self, text: str, key: str) -> list[RawFile]:
        """The files of an address, by what has come of them before; their bytes may be gone.

        Raises NotFetched for what has still to come, RecipeError for an address that cannot be used.
        """
        patient = self.config.model_copy(update={"retries": min(_PLAN_RETRIES, self.config.retries)})
        try:
            address = parse_address(text)
            folder = self.folder(address, patient, lambda said: None)
            files = folder.files(address)
            known = {file.name: entry for file in files if (entry := folder.known(file, address.login)) is not None}
            missing = [file for file in files if file.name not in known]
            if missing:
                count, exact = folder.expected_bytes(missing, address.login)
                raise NotFetched(len(missing), len(files), count, exact)
        except AddressError as error:
            raise RecipeError(f"{key}: {error}") from None
        except TransferError as error:
            if not error.passing:
                raise RecipeError(f"{key}: {error}") from None
            raise NotFetched(unasked=str(error)) from None
        said = str(address)
        entries = [(file, known[file.name]) for file in files]
        return [RawFile(file.name, folder.path(file), entry.size, entry.sha256, said) for file, entry in entries]

    def fetch(
        self,
        given: Iterable[str],
        *,
        bytes_too: bool,
        report: Callable[[Progress], None],
        note: Callable[[str], None],
    ) -> None:
        """Bring what is missing of some addresses: the files nobody has seen, and with `bytes_too` those whose bytes are gone.

        Raises Transient for what may pass, StageFailed for what the user can mend, NoSpace.
        """
        for text in given:
            if not is_remote(text):
                continue
            try:
                self._fetch(parse_address(text), bytes_too, report, note)
            except AddressError as error:
                raise StageFailed(str(error)) from None
            except TransferError as error:
                raise (Transient if error.passing else StageFailed)(str(error)) from None

    def folder(self, address: Address, config: DownloadConfig, note: Callable[[str], None]) -> RawFolder:
        """Where the files of an address come to."""
        place = re.sub(r"[^A-Za-z0-9.-]", "-", address.host)[:60].strip(".") or "local"
        return RawFolder(self.root / f"{place}-{address.key}", config, self.free, note)

    def _fetch(self, address: Address, bytes_too: bool, report: Callable[[Progress], None], note: Callable[[str], None]) -> None:
        folder = self.folder(address, self.config, note)
        files = folder.files(address)
        before = {file.name: entry.sha256 for file in files if (entry := folder.known(file, address.login)) is not None}
        wanted = files if bytes_too else [file for file in files if file.name not in before]
        if not wanted:
            return
        for entry in folder.fetch(wanted, address.login, report):
            if entry.sha256 != before.get(entry.name, entry.sha256):
                raise StageFailed(f"{address}: {entry.name} has other bytes than when it was acquired; run again to take them in")

"""Which model is served: the champion, the last good one before it, or the fallback alone."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from .. import registry
from ..contract import Contract
from ..monitoring import metrics
from ..monitoring.drift import DriftCounts
from ..monitoring.quality import Watch
from ..registry import DamagedError, RegistryError
from .predictor import ModelError, Predictor
from .scoring import Model, Scorer, inline_rows

if TYPE_CHECKING:
    from ..feedback.log import Log

LOGGER = logging.getLogger("model_service")


def load(contract: Contract, root: Path, name: str) -> Model:
    """Return the model that an alias or version names, as far as it can be served.

    A damaged model is replaced by the one that was served before it; where there is none, by the
    fallback that its manifest holds.

    Raises:
        RegistryError: there is no such model, it was trained on another schema, or nothing of it
            can be used.
    """
    versions = registry.history(root, name)
    for version in versions:
        try:
            graph, manifest = registry.load(root, version)
            registry.require_schema(contract, manifest)
            predictor = Predictor(contract, graph)
        except (DamagedError, ModelError) as error:
            LOGGER.error("%s is not served: %s", version, error)
        except RegistryError:
            if version == versions[0]:
                raise
        else:
            drift = DriftCounts(
                contract, version, manifest.reference, manifest.rows.get("train", 0)
            )
            quick = inline_rows(contract, predictor)
            watch = _watch(contract, manifest)
            created = manifest.created_at
            return Model(version, predictor, manifest.fallback, quick, drift, created, watch)
    manifest = registry.read_manifest(root, versions[0])
    registry.require_schema(contract, manifest)
    if manifest.fallback is None:
        raise RegistryError(f"{versions[0]} cannot be loaded and declares no fallback.")
    return Model(versions[0], None, manifest.fallback, created=manifest.created_at)


def _watch(contract: Contract, manifest: registry.Manifest) -> Watch | None:
    if manifest.expected is None:
        return None
    return Watch(contract, manifest.version, manifest.reference, manifest.expected)


class Reloader:
    """Brings a newly promoted model into a running scorer."""

    def __init__(
        self,
        contract: Contract,
        scorer: Scorer,
        root: Path,
        name: str,
        log: "Log | None" = None,
        *,
        stays: bool = False,
    ) -> None:
        """Load what is named now.

        Args:
            contract: The schema.
            scorer: Which is to answer with it.
            root: The registry.
            name: Alias or version.
            log: Keeps its predictions.
            stays: Whether it does so as long as this process lives, whatever else is served.

        Raises:
            RegistryError: nothing can be served.
        """
        self._contract, self._scorer, self._root, self._name = contract, scorer, root, name
        self._log, self._stays = log, stays
        self._seen = registry.history(root, name)
        self._use(load(contract, root, name))

    async def check(self) -> None:
        """Load the model when another one is named; requests are answered meanwhile."""
        named = self._seen
        try:
            named = registry.history(self._root, self._name)
            if named == self._seen:
                return
            model = await asyncio.to_thread(load, self._contract, self._root, self._name)
        except RegistryError as error:
            self._seen = named
            LOGGER.error("the model stays as it is: %s", error)
            return
        except OSError as error:  # it may pass
            LOGGER.error("the model stays as it is, and is looked for again: %s", error)
            return
        self._seen = named
        if model.predictor is None and self._scorer.model.predictor:
            LOGGER.error("the model stays as it is: %s has only a fallback", model.version)
            return
        self._use(model)
        LOGGER.info("model %s is served now", model.version)

    def _use(self, model: Model) -> None:
        if replaced := self._scorer.model.drift:
            replaced.flush()
        if model.created:
            created = model.created.timestamp()
            before = self._scorer.model.version if self._scorer.model.created else None
            metrics.publish_model(model.version, created, model.predictor is not None, before)
        if model.drift:
            model.drift.publish()
        if self._log and model.watch:
            self._log.use(model.version, model.watch, stays=self._stays)
        elif self._log:
            LOGGER.warning("%s is too old for labels: train it again", model.version)
        self._scorer.use(model)
